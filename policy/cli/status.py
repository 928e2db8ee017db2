"""The commands status, mute, unmute, volume and release, which ask the running agent. See
docs/control.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policy.cli import terminal, view
from policy.cli.program import GOOD
from xensnd.control.client import AgentClient, NoAgentError, socket_path
from xensnd.errors import UsageError
from xensnd.text import escaped, quoted

REDRAW_SECONDS = 0.2


def agent_of(options: argparse.Namespace) -> AgentClient:
    return AgentClient(socket_path(options.control))


def show_status(options: argparse.Namespace) -> int:
    if options.names:
        return _show_names(options)
    if options.watch:
        return _watch(options)
    with agent_of(options) as agent:
        status = agent.ask("status")
    if options.json:
        print(json.dumps({key: value for key, value in status.items() if key != "ok"}, indent=2))
        return GOOD
    is_table = sys.stdout.isatty()
    for line in view.table(status, display()) if is_table else view.plain(status):
        print(line)
    return GOOD


def _show_names(options: argparse.Namespace) -> int:
    """Print names for shell completion: quickly, and nothing if no agent answers."""
    try:
        with AgentClient(socket_path(options.control), seconds=0.5) as agent:
            names = guest_names(agent.ask("status"))
    except (NoAgentError, UsageError):
        return GOOD
    for name in names:
        if name.isprintable():
            print(name)
    return GOOD


def guest_names(status: Mapping[str, Any]) -> list[str]:
    return [str(guest.get("name")) for guest in status.get("guests", [])]


def _watch(options: argparse.Namespace) -> int:
    if not sys.stdout.isatty():
        raise UsageError("status --watch needs a terminal; for programs there is status --json")
    path = socket_path(options.control)
    with agent_of(options):
        pass  # an agent that cannot be reached at first is an error; later it is waited for
    try:
        with terminal.screen() as screen:
            while True:
                _watch_agent(path, screen)
    except KeyboardInterrupt:
        return GOOD


def _watch_agent(path: Path, screen: terminal.Screen) -> None:
    """Draws the status until the agent is gone; then says so."""
    try:
        with AgentClient(path) as agent:
            while True:
                _draw(screen, view.table(agent.ask("status"), display()))
                time.sleep(REDRAW_SECONDS)
    except (NoAgentError, UsageError) as problem:
        # The last status is no longer true, least of all who records, so it is cleared.
        columns, _ = terminal.size()
        lines = (escaped(problem), "waiting for the agent")
        _draw(screen, [terminal.fitted(each, columns).rstrip() for each in lines])
        time.sleep(REDRAW_SECONDS)


def _draw(screen: terminal.Screen, lines: list[str]) -> None:
    """Draws the lines. If there are too many, the last one, who records, stays visible."""
    _, height = terminal.size()
    if len(lines) > height:
        hidden = len(lines) - height + 1
        lines = [*lines[: max(height - 2, 0)], f"({hidden} more lines)", lines[-1]][-height:]
    screen.draw(lines)


def display() -> view.Display:
    columns, _ = terminal.size()
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return view.Display(columns, terminal.has_colours(), encoding == "utf8")


def mute(options: argparse.Namespace) -> int:
    return _change(options, "mute", "muted")


def unmute(options: argparse.Namespace) -> int:
    return _change(options, "unmute", "no longer muted")


def volume(options: argparse.Namespace) -> int:
    percent = _percent(options.percent)
    return _change(options, "volume", f"volume {percent:g}%", percent=percent)


def release(options: argparse.Namespace) -> int:
    with agent_of(options) as agent:
        agent.ask("release", guest=options.guest)
    print(f"{escaped(options.guest)}: released from quarantine")
    return GOOD


def _change(options: argparse.Namespace, operation: str, done: str, **arguments: object) -> int:
    with agent_of(options) as agent:
        answer = agent.ask(operation, guest=options.guest, direction=options.direction, **arguments)
    changed = answer.get("changed", 0)
    streams = f"{changed} stream{'' if changed == 1 else 's'}"
    what = f"{escaped(options.guest)}: {options.direction} {done}"
    print(f"{what} ({streams} now, and later ones)")
    return GOOD


def _percent(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100 or not text[:1].isdigit():
        raise UsageError(f"volume {quoted(text)} is not 0% to 100% (write such as 60%)")
    return percent


def running_guests(options: argparse.Namespace) -> list[Mapping[str, Any]]:
    """Empty if no agent runs, or if it does not answer us."""
    try:
        with agent_of(options) as agent:
            return list(agent.ask("status").get("guests", []))
    except (NoAgentError, UsageError):
        return []
