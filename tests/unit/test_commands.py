"""What every command has: a version, a man page and completions that know all of its options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import agent_dom0.cli
import agent_guest.cli
import agent_session.cli
import agent_session.pacat
import policy.cli.main
from xensnd.version import VERSION

ROOT = Path(__file__).parents[2]
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "xensnd-dom0": agent_dom0.cli.main,
    "xensnd-guest": agent_guest.cli.main,
    "xensnd-pacat": agent_session.pacat.main,
    "xensnd-policy": policy.cli.main.main,
    "xensnd-session": agent_session.cli.main,
}
# What the completions themselves ask with.
NOT_COMPLETED = {"--names"}


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says before it exits."""

    def show(command: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as exited:
            MAINS[command](arguments)
        assert exited.value.code == 0
        return capsys.readouterr().out

    return show


def options_of(command: str, shown: Callable[..., str]) -> set[str]:
    """Of the command and of its own commands."""
    whole = shown(command, "--help")
    pages = [whole]
    for sub in re.findall(r"^    ([a-z-]+)(?: {2}|$)", whole, re.MULTILINE):
        pages.append(shown(command, sub, "--help"))
    return set(re.findall(r"^ {2}(?:-\w, )?(--[a-z-]+)", "\n".join(pages), re.MULTILINE))


@pytest.mark.parametrize("command", MAINS)
def test_version_is_the_one_that_is_said_once(command: str, shown: Callable[..., str]) -> None:
    assert shown(command, "--version") == f"{command} {VERSION}\n"


@pytest.mark.parametrize("command", MAINS)
def test_every_option_is_in_the_man_page(command: str, shown: Callable[..., str]) -> None:
    (page,) = (ROOT / "docs/man").glob(f"{command}.[0-9].md")
    documented = set(re.findall(r"\*\*\\(--[a-z-]+)\*\*", page.read_text()))
    assert documented == options_of(command, shown)


@pytest.mark.parametrize("command", MAINS)
def test_every_option_is_completed(command: str, shown: Callable[..., str]) -> None:
    options = options_of(command, shown) - NOT_COMPLETED
    for file in (f"{command}.bash", f"_{command}"):
        known = set(re.findall(r"--[a-z-]+", (ROOT / "completions" / file).read_text()))
        assert options - known == set(), file


@pytest.mark.parametrize("page", sorted((ROOT / "docs/man").glob("*.md")), ids=lambda p: p.name)
def test_pages_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"\*\*(xensnd[a-z.0-9-]*)\*\*\((\d)\)", page.read_text())
    assert named
    for name, section in named:
        assert (ROOT / f"docs/man/{name}.{section}.md").exists()
