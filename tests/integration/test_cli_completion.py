"""Completion, in the real shells."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.cli.main import main, parser
from tests.support.fake_agent import FakeAgent, guest, status

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "completions"
COMMANDS = re.findall(r"^    ([a-z-]+)(?:  |$)", parser().format_help(), re.MULTILINE)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path / "control") as agent:
        agent.status = status(guest("work"), guest("web-1"), guest("web-2"), guest("$(id) x"))
        yield agent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """With xensnd-policy in it."""
    tool = tmp_path / "bin" / "xensnd-policy"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m policy.cli.main "$@"\n')
    tool.chmod(0o755)
    return f"{tool.parent}:{os.environ['PATH']}"


def bash(path: str, *words: str, tool: str = "xensnd-policy", **environment: str) -> list[str]:
    """What the last word may become."""
    script = f"""
    compopt() {{ :; }}
    . {COMPLETIONS}/{tool}.bash
    COMP_WORDS=({" ".join(map(shlex.quote, [tool, *words]))})
    COMP_CWORD={len(words)}
    _{tool.replace("-", "_")}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-u", "-c", script],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


def test_bash_completes_commands(path: str) -> None:
    assert sorted(bash(path, "")) == sorted(COMMANDS)
    assert bash(path, "al") == ["allow-capture", "allow-playback"]
    assert bash(path, "--policy", "/etc", "vol") == ["volume"]
    assert bash(path, "--con") == ["--control"]


def test_bash_completes_the_running_guests(path: str, agent: FakeAgent) -> None:
    control = ["--control", str(agent.path)]
    assert bash(path, *control, "allow-capture", "we") == ["web-1", "web-2"]
    assert bash(path, *control, "volume", "wo") == ["work"]
    assert bash(path, "--control", "=", str(agent.path), "mute", "wo") == ["work"]
    assert bash(path, *control, "log", "--guest", "web-2") == ["web-2"]
    assert bash(path, *control, "volume", "work", "") == []
    assert bash(path, "mute", "w", XENSND_CONTROL=str(agent.path)) == ["work", "web-1", "web-2"]


def test_bash_does_not_run_a_guests_name(path: str, agent: FakeAgent) -> None:
    assert bash(path, "--control", str(agent.path), "mute", "$") == ["\\$\\(id\\)\\ x"]


def test_bash_completes_options_and_values(path: str) -> None:
    assert bash(path, "ask-capture", "work", "--") == ["--for", "--until", "--once", "--help"]
    assert bash(path, "explain", "work", "--direction", "c") == ["capture"]
    assert bash(path, "prompt", "3", "n") == ["no", "never"]
    assert "--watch" in bash(path, "status", "")


def test_bash_is_silent_without_an_agent(path: str, tmp_path: Path) -> None:
    assert bash(path, "--control", str(tmp_path / "none"), "mute", "") == []


def test_bash_completes_the_agents(path: str, tmp_path: Path) -> None:
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "note.wav").touch()
    (tmp_path / "control").touch()
    assert bash(path, "--ask", tool="xensnd-dom0") == ["--ask-seconds"]
    assert bash(path, "--audit", "jou", tool="xensnd-dom0") == ["journal"]
    assert bash(path, "--policy", f"{tmp_path}/", tool="xensnd-dom0") == [
        f"{tmp_path}/{name}" for name in ("policy.d", "bin")
    ]
    assert bash(path, "rec", tool="xensnd-guest") == ["record"]
    assert bash(path, "record", "--sec", tool="xensnd-guest") == ["--seconds"]
    assert bash(path, "play", "--format", "s2", tool="xensnd-guest") == ["s24_le"]
    assert bash(path, "play", f"{tmp_path}/n", tool="xensnd-guest") == [f"{tmp_path}/note.wav"]
    assert bash(path, "--con", tool="xensnd-session") == ["--control"]
    assert bash(path, "--control", f"{tmp_path}/c", tool="xensnd-session") == [
        f"{tmp_path}/control"
    ]


@pytest.mark.parametrize("file", ["xensnd-policy.bash", "_xensnd-policy"])
def test_every_command_and_option_is_known(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (COMPLETIONS / file).read_text()
    for command in COMMANDS:
        assert re.search(rf"(?<![\w-]){command}(?![\w-])", text)
        with pytest.raises(SystemExit):
            main([command, "--help"])
        for option in re.findall(r"^  (--[a-z]+)", capsys.readouterr().out, re.MULTILINE):
            assert option in text or option == "--names"


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("xensnd-policy vol", ["volume"]),
        ("xensnd-policy mute w", ["work", "web-1", "web-2"]),
        ("xensnd-policy allow-capture we", ["web-1", "web-2"]),
        ("xensnd-policy log --guest web-", ["web-1", "web-2"]),
        ("xensnd-policy explain work --direction c", ["capture"]),
        ("xensnd-policy prompt 3 n", ["no", "never"]),
        ("xensnd-dom0 --ask", ["--ask-seconds"]),
        ("xensnd-dom0 --audit jou", ["journal"]),
        ("xensnd-guest rec", ["record"]),
        ("xensnd-guest play --format s2", ["s24_le"]),
        ("xensnd-session --con", ["--control"]),
    ],
)
def test_zsh_completes(
    path: str, tmp_path: Path, agent: FakeAgent, typed: str, expected: list[str]
) -> None:
    """In a real line editor: zsh's completion works nowhere else."""
    script = f"""
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell 'PS1="pro""mpt>"; fpath=({COMPLETIONS} $fpath); autoload -U compinit'
    zpty -w shell 'compinit -u -D; zstyle ":completion:*" list-prompt ""; LISTMAX=9999'
    zpty -w shell 'compadd() {{ local -a found; builtin compadd -O found "$@"; '\\
'(( $#found )) && print -rl -- "<"${{^found}}">"; builtin compadd "$@" }}; print re""ady'
    zpty -r -m shell line '*ready*prompt>*'  # the line editor listens
    zpty -n -w shell $'{typed}\\t'
    zpty -n -w shell $'\\C-u'
    zpty -w shell 'print do""ne'
    zpty -r -m shell line '*done*'
    print -r -- $line
    """
    done = subprocess.run(
        ["zsh", "-f", "-c", script],
        env={**os.environ, "PATH": path, "XENSND_CONTROL": str(agent.path), "HOME": str(tmp_path),
             "TERM": "dumb"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    last = typed.rpartition(" ")[2]
    found = re.findall(r"<([^>\r\n]+)>", done.stdout)
    assert set(expected) <= set(found), done.stdout + done.stderr
    assert {each for each in found if each.startswith(last)} == set(expected)
