"""The command line of what speaks with the running agent, or reads what it wrote."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from policy.cli import log as trail
from policy.cli import prompt as asking
from policy.cli import status as live
from policy.model import Direction


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    _add_status(add("status", "show the guests, their streams, and who records", live.show_status))
    for name, about, run in (
        ("mute", "silence a guest until unmute, as long as it runs", live.mute),
        ("unmute", "let a guest be heard again", live.unmute),
        ("volume", "set the volume of a guest, as long as it runs", live.volume),
    ):
        change = add(name, about, run)
        change.add_argument("guest", metavar="GUEST", help="the name of a guest that runs")
        if name == "volume":
            change.add_argument("percent", metavar="PERCENT", help="0%% to 100%%")
        change.add_argument(
            "--direction",
            choices=[str(each) for each in Direction],
            default=str(Direction.PLAYBACK),
            help="default: playback",
        )
    _add_log(
        add("log", "show the audit trail: what was allowed and denied, and why", trail.show_log)
    )
    _add_prompt(add("prompt", "answer what guests wait to be allowed", asking.prompt))


def _add_status(status: argparse.ArgumentParser) -> None:
    how = status.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="draw it anew, 5 times a second")
    how.add_argument("--json", action="store_true", help="as the agent tells it; docs/control.md")
    how.add_argument("--names", action="store_true", help="names of guests, for completion")


def _add_log(log: argparse.ArgumentParser) -> None:
    log.add_argument("--follow", action="store_true", help="go on with what is yet to happen")
    log.add_argument("--since", metavar="TIME", help="30m ago, 18:00 today, 2026-11-20T18:00")
    log.add_argument("--guest", metavar="NAME", help="what concerns this guest")
    log.add_argument("--json", action="store_true", help="one object a line, all fields")
    where = log.add_mutually_exclusive_group()
    where.add_argument("--file", metavar="AUDIT", type=Path, help="an audit file of xensnd-dom0")
    where.add_argument(
        "--directory", metavar="DIR", type=Path, help="another journal: a directory of its files"
    )


def _add_prompt(prompt: argparse.ArgumentParser) -> None:
    prompt.add_argument("--list", action="store_true", help="show what is asked, and exit")
    prompt.add_argument(
        "id", metavar="ID", nargs="?", type=int, help="which; without, on a terminal"
    )
    prompt.add_argument("answer", metavar="ANSWER", nargs="?", help=asking.HINT)
    prompt.add_argument(
        "length", metavar="SECONDS", nargs="*", help="with for: 30m (default), 2h, 90"
    )
