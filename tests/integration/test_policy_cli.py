"""xensnd-policy as a person uses it: run as a program, on real files."""

from __future__ import annotations

import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.edit import atomic
from policy.edit.rewrite import NEW_FILE
from policy.engine import decide
from policy.language.loader import load
from policy.model import Direction
from tests.support.policy_tool import COMMANDS, HEAD, PolicyTool, Run
from tests.support.public_copy import public_python

ROOT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@dataclass(frozen=True)
class Tool(PolicyTool):
    program: Sequence[str] = (sys.executable, "-m", "policy.cli.main")

    def __call__(
        self,
        *arguments: str,
        user: int | None = None,
        before: Callable[[], None] | None = None,
    ) -> Run:
        done = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            user=user,
            preexec_fn=before,
        )
        assert "Traceback" not in done.stderr
        return Run(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> list[str]:
        return [*self.program, "--policy", str(self.directory), *arguments]


def made(directory: Path) -> Tool:
    """A policy directory with the shipped file."""
    directory.mkdir()
    directory.chmod(0o755)
    shutil.copyfile(ROOT / "policy/defaults/90-default.yaml", directory / "90-default.yaml")
    (directory / "90-default.yaml").chmod(0o644)
    return Tool(directory)


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return made(tmp_path / "policy.d")


def test_allow_capture_shows_what_now_applies(tool: Tool) -> None:
    assert tool("allow-capture", "work") == Run(
        0, f"work: capture allow ({tool.user_file}:6)\n", ""
    )
    assert tool.user_file.read_text() == NEW_FILE + "  - guest: work\n    capture: allow\n"


def test_all_edits_of_two_guests_make_two_rules(tool: Tool) -> None:
    for command in COMMANDS:
        for guest in ("work", "*x"):
            assert tool(command, guest).status == 0
    assert tool.user_file.read_text() == NEW_FILE + (
        "  - guest: work\n    capture: deny\n    playback: deny\n"
        "  - guest: '*x'\n    capture: deny\n    playback: deny\n"
    )


def test_edit_of_a_glob_shows_its_exceptions(tool: Tool) -> None:
    path = tool.put(HEAD + "- {guest: work-mail, capture: allow}\n")
    assert tool("deny-capture", "work-*") == Run(
        0,
        f"work-*: capture deny ({path}:4)\n  except work-mail: capture allow ({path}:3)\n",
        "",
    )


def test_edit_that_another_rule_overrides_is_refused(tool: Tool) -> None:
    path = tool.put(HEAD + "- {guest: '*', capture: deny}\n", "10-site.yaml")
    assert tool("allow-capture", "work") == Run(
        2,
        "",
        f"xensnd-policy: 'work' would not get capture allow: {path}:3 comes before 30-user.yaml "
        "and says {guest: '*', capture: deny}; change that rule by hand\n",
    )
    assert not tool.user_file.exists()


@pytest.mark.parametrize("command", [["list"], ["explain", "a"], ["allow-capture", "a"]])
def test_bad_policy_stops_every_command_with_its_first_problem(
    tool: Tool, command: list[str]
) -> None:
    path = tool.put("version: 2\n")
    assert tool(*command) == Run(
        1,
        "",
        f"xensnd-policy: {path}:1:10: version '2' is not known to this xensnd "
        "(write 'version: 1')\n",
    )
    assert path.read_text() == "version: 2\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["allow-capture"], "the following arguments are required: GUEST"),
        (["list", "x"], "unrecognized arguments: x"),
    ],
)
def test_wrong_usage_is_reported_in_one_line(
    tool: Tool, arguments: list[str], message: str
) -> None:
    assert tool(*arguments) == Run(2, "", f"xensnd-policy: {message} (see xensnd-policy --help)\n")


@pytest.mark.parametrize("command", ["allow-capture", "explain"])
def test_empty_guest_is_refused(tool: Tool, command: str) -> None:
    assert tool(command, "") == Run(2, "", "xensnd-policy: guest '' is empty\n")


def test_several_directories_are_read_as_the_agent_reads_them(tool: Tool, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir(mode=0o755)
    Tool(second).put(HEAD + "- {guest: work, capture: allow}\n", "20-a.yaml")
    assert f"capture allow ({second}/20-a.yaml:3)" in (
        tool("--policy", str(second), "explain", "work").out
    )


def test_missing_directory_is_named(tmp_path: Path) -> None:
    assert Tool(tmp_path / "gone")("list").err == (
        f"xensnd-policy: {tmp_path}/gone: no such policy directory "
        "(create it, or name another with --policy)\n"
    )


def test_help_teaches_with_examples(tool: Tool) -> None:
    help_text = tool("--help").out
    for line in (
        "xensnd-policy allow-capture work",
        "exit status: 0 done or good",
        "- guest: work",
    ):
        assert line in help_text


def test_version_is_shown(tool: Tool) -> None:
    assert tool("--version").out.startswith("xensnd-policy ")


def test_many_first_grants_at_once_lose_nothing(tool: Tool) -> None:
    editors = [
        subprocess.Popen(
            tool.command("--runtime", str(tool.runtime), command, f"guest-{number}", *times),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for number in range(3)
        for command, times in (
            ("allow-capture", ["--for=1h"]),
            ("deny-playback", ["--once"]),
            ("deny-capture", []),
        )
    ]
    assert [editor.wait(30) for editor in editors] == [0] * len(editors)
    policy = load([tool.directory], runtime=tool.runtime)
    for number in range(3):
        denied = decide(policy, f"guest-{number}", Direction.PLAYBACK)
        assert (denied.verb, denied.rule and denied.rule.once) == ("deny", True)
    user = [rule.guest for rule in policy.rules if rule.file == tool.user_file]
    assert sorted(user) == ["guest-0", "guest-1", "guest-2"]


def on_a_terminal(tool: Tool, *arguments: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    main, terminal = pty.openpty()
    subprocess.run(
        tool.command(*arguments), cwd=ROOT, stdout=terminal, check=True, timeout=30,
        env=os.environ | {"TERM": "xterm"} | environment,
    )  # fmt: skip
    os.close(terminal)
    printed = b""
    with suppress(OSError):  # Linux says so at the end
        while octets := os.read(main, 65536):
            printed += octets
    os.close(main)
    return printed.decode()


def test_verbs_are_coloured_only_on_a_terminal_and_if_wanted(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: deny, capture: ask}\n")
    coloured = on_a_terminal(tool, "list")
    assert "\ndeny   -         \x1b[33mask\x1b[0m      " in coloured
    assert "*      \x1b[32mallow\x1b[0m     \x1b[31mdeny\x1b[0m     " in coloured
    plain = tool("list").out.replace("\n", "\r\n")
    assert on_a_terminal(tool, "list", NO_COLOR="1") == plain
    assert on_a_terminal(tool, "list", TERM="dumb") == plain
    assert "\x1b[33mask\x1b[0m" in on_a_terminal(tool, "explain", "deny")


@pytest.fixture
def public_tool() -> Iterator[Tool]:
    """Where other users reach it; not below pytest's directories, which are for one user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        directory = made(Path(name) / "policy.d").directory
        yield Tool(directory, public_python("-m", "policy.cli.main"))


@needs_root
def test_user_who_may_not_write_is_told_so(public_tool: Tool) -> None:
    assert public_tool("allow-capture", "work", user=65534) == Run(
        2, "", f"xensnd-policy: {public_tool.directory}: no permission to write; run this as root\n"
    )
    assert public_tool("list", user=65534).status == 0


@needs_root
def test_user_who_may_not_read_is_told_so(public_tool: Tool) -> None:
    (public_tool.directory / "90-default.yaml").chmod(0o600)
    assert public_tool("list", user=65534) == Run(
        1,
        "",
        f"xensnd-policy: {public_tool.directory}/90-default.yaml: cannot be read: "
        "Permission denied\n",
    )


def test_file_that_may_not_grow_is_left_as_it_was(tool: Tool) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))

    assert tool("allow-capture", "work", before=limit) == Run(
        2, "", f"xensnd-policy: {tool.user_file}: File too large; nothing was changed\n"
    )
    assert names(tool) == [".30-user.yaml.lock", "90-default.yaml"]


def test_full_disk_leaves_the_file_as_it_was(tool: Tool) -> None:
    """A real one, mounted where only this process sees it."""
    text = HEAD + "- {guest: work, capture: deny}\n" + "# filler\n" * 900
    script = f"""
        mount -t tmpfs -o size=16k,mode=755 none {tool.directory} || exit 77
        cat > {tool.user_file}; chmod 644 {tool.user_file}; : > {tool.directory}/.30-user.yaml.lock
        cat /dev/zero > {tool.directory}/filler 2>/dev/null
        {" ".join(tool.command("allow-capture", "work"))}; echo $?
        ls -A {tool.directory}; cat {tool.user_file}
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=ROOT, input=text, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("cannot mount a file system here")
    assert done.stderr == (
        f"xensnd-policy: {tool.user_file}: No space left on device; nothing was changed\n"
    )
    assert done.stdout == "2\n.30-user.yaml.lock\n30-user.yaml\nfiller\n" + text


def test_output_that_cannot_be_written_is_reported(tool: Tool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            tool.command("list"), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (
        2,
        b"xensnd-policy: standard output: No space left on device\n",
    )


def test_reader_that_closes_the_pipe_is_no_error(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: a, capture: deny}\n" * 5000)
    with subprocess.Popen(
        tool.command("list"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 0


def test_name_that_the_terminal_cannot_show_is_escaped(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.put(HEAD + "- {guest: B\u00fcro, capture: deny}\n")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "B\\xfcro" in tool("list").out


def test_many_editors_at_once_lose_nothing(tool: Tool) -> None:
    editors = [
        subprocess.Popen(
            tool.command(command, f"guest-{number}"), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        for number in range(6)
        for command in ("allow-capture", "deny-playback")
    ]
    assert [editor.wait(30) for editor in editors] == [0] * 12
    rules = [rule for rule in load([tool.directory]).rules if rule.file == tool.user_file]
    assert sorted(rule.text for rule in rules) == [
        f"guest: guest-{number}, playback: deny, capture: allow" for number in range(6)
    ]
    assert names(tool) == [".30-user.yaml.lock", "30-user.yaml", "90-default.yaml"]


def test_editor_waits_for_the_one_before(tool: Tool) -> None:
    with atomic.locked(tool.user_file):
        waiting = subprocess.Popen(
            tool.command("allow-capture", "work"), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        tool.put(HEAD + "- {guest: mine, capture: deny}\n")
    assert waiting.wait(30) == 0
    assert tool.user_file.read_text() == (
        HEAD + "- {guest: mine, capture: deny}\n- guest: work\n  capture: allow\n"
    )


def test_editor_that_is_killed_leaves_a_good_policy(tool: Tool) -> None:
    for delay in range(8):
        editor = subprocess.Popen(
            tool.command("allow-capture", f"guest-{delay}"), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):
            editor.wait(0.01 + delay * 0.02)
        editor.kill()
        editor.wait()
        load([tool.directory])
    assert tool("allow-capture", "work").status == 0
    assert not [name for name in names(tool) if name.endswith(".new")]


def names(tool: Tool) -> list[str]:
    return sorted(path.name for path in tool.directory.iterdir())
