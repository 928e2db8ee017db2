"""xensnd-policy as a person meets it: a program of its own, on real files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy import atomic
from policy.loader import load
from policy.splice import NEW_FILE

ROOT = Path(__file__).parents[2]
HEAD = "version: 1\nrules:\n"
COMMANDS = ["allow-capture", "deny-capture", "allow-playback", "deny-playback"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Tool:
    directory: Path

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
        return [sys.executable, "-m", "policy.cli", "--policy", str(self.directory), *arguments]

    @property
    def user_file(self) -> Path:
        return self.directory / "30-user.yaml"

    def put(self, text: str, name: str = "30-user.yaml") -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    directory = tmp_path / "policy.d"
    directory.mkdir()
    directory.chmod(0o755)
    shutil.copyfile(ROOT / "policy/defaults/90-default.yaml", directory / "90-default.yaml")
    (directory / "90-default.yaml").chmod(0o644)
    return Tool(directory)


def test_allow_capture_says_what_now_holds(tool: Tool) -> None:
    assert tool("allow-capture", "work") == Run(
        0, f"work: capture allow ({tool.user_file}:6)\n", ""
    )
    assert tool.user_file.read_text() == NEW_FILE + "  - guest: work\n    capture: allow\n"


def test_four_edits_of_two_guests_make_two_rules(tool: Tool) -> None:
    for command in COMMANDS:
        for guest in ("work", "*x"):
            assert tool(command, guest).status == 0
    assert tool.user_file.read_text() == NEW_FILE + (
        "  - guest: work\n    capture: deny\n    playback: deny\n"
        "  - guest: '*x'\n    capture: deny\n    playback: deny\n"
    )


def test_glob_tells_its_exceptions(tool: Tool) -> None:
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
        f"xensnd-policy: 'work' would not get capture allow: {path}:3 is asked before 30-user.yaml "
        "and says {guest: '*', capture: deny}; change that rule by hand\n",
    )
    assert not tool.user_file.exists()


def test_list_shows_the_rules_in_the_order_they_are_asked(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: work, capture: allow}\n")
    where = tool.directory
    assert tool("list") == Run(
        0,
        "GUEST  PLAYBACK  CAPTURE  RULE\n"
        f"work   -         allow    {where}/30-user.yaml:3\n"
        f"*      allow     deny     {where}/90-default.yaml:14\n",
        "",
    )


def test_explain_says_which_rule_decides_and_why_no_other(tool: Tool) -> None:
    user = tool.put(HEAD + "- {guest: work, capture: allow}\n- {guest: x, capture: deny}\n")
    default = tool.directory / "90-default.yaml"
    assert tool("explain", "work").out == (
        f"work: playback allow ({default}:14)\n"
        f"  {user}:3: guest: work, capture: allow\n"
        "    passed over: it does not speak of the direction\n"
        f"  {default}:14: guest: '*', playback: allow, capture: deny\n"
        "    decides: the first that matches and speaks of the direction\n"
        f"work: capture allow ({user}:3)\n"
        f"  {user}:3: guest: work, capture: allow\n"
        "    decides: the first that matches and speaks of the direction\n"
        f"  {default}:14: guest: '*', playback: allow, capture: deny\n"
        "    not asked: a rule above decides\n"
        "1 other rule for other guests\n"
    )


def test_explain_says_when_no_rule_decides(tool: Tool) -> None:
    (tool.directory / "90-default.yaml").unlink()
    assert tool("explain", "work").out == (
        "work: playback deny (no rule)\n"
        "  no rule that matches speaks of playback, so it is denied\n"
        "work: capture deny (no rule)\n"
        "  no rule that matches speaks of capture, so it is denied\n"
        "0 other rules for other guests\n"
    )


def test_check_of_a_good_policy_names_its_files(tool: Tool) -> None:
    assert tool("check") == Run(
        0, f"good: 1 rule in 1 file\n  {tool.directory}/90-default.yaml\n", ""
    )


def test_check_has_one_line_for_each_bad_file(tool: Tool) -> None:
    one = tool.put(HEAD + "- {guest: a, captur: deny, x: y}\n", "10-a.yaml")
    two = tool.put(HEAD + "- {guest: a, capture: yes}\n", "20-b.yaml")
    assert tool("check") == Run(
        1,
        "",
        f"xensnd-policy: {one}:3:14: unknown key 'captur' (did you mean 'capture'?)\n"
        f"xensnd-policy: {two}:3:23: capture: 'yes' is not one of allow, deny (write allow)\n",
    )


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
def test_wrong_usage_is_told_in_one_line(tool: Tool, arguments: list[str], message: str) -> None:
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


@needs_root
def test_who_may_not_write_is_told_so(tool: Tool, tmp_path: Path) -> None:
    reachable_by_all(tmp_path)
    assert tool("allow-capture", "work", user=65534) == Run(
        2, "", f"xensnd-policy: {tool.directory}: no permission to write; run this as root\n"
    )
    assert tool("list", user=65534).status == 0


@needs_root
def test_who_may_not_read_is_told_so(tool: Tool, tmp_path: Path) -> None:
    reachable_by_all(tmp_path)
    (tool.directory / "90-default.yaml").chmod(0o600)
    assert tool("list", user=65534) == Run(
        1,
        "",
        f"xensnd-policy: {tool.directory}/90-default.yaml: cannot be read: Permission denied\n",
    )


def reachable_by_all(path: Path) -> None:
    for directory in (path, path.parent, path.parent.parent):
        directory.chmod(directory.stat().st_mode | 0o055)


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


def test_output_that_cannot_be_written_is_told(tool: Tool) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            tool.command("list"), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (
        2,
        b"xensnd-policy: standard output: No space left on device\n",
    )


def test_reader_that_goes_away_is_no_error(tool: Tool) -> None:
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
