"""The command line of xensnd-session."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from xensnd.control.client import DEFAULT_SOCKET, ENVIRONMENT, socket_path
from xensnd.version import VERSION

END_SECONDS = 2.0
BUS = "DBUS_SESSION_BUS_ADDRESS"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="xensnd-session: %(message)s", stream=sys.stderr)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if BUS not in os.environ and runtime:
        os.environ[BUS] = f"unix:path={runtime}/bus"
    if BUS not in os.environ:
        print(
            f"xensnd-session: no session bus; start it in a session, or set {BUS}", file=sys.stderr
        )
        return 2
    try:
        from agent_session import notifications, session  # noqa: PLC0415  (to say what is missing)
    except ImportError as error:
        print(f"xensnd-session: {error}; install python3-jeepney", file=sys.stderr)
        return 2
    asyncio.run(_run(session.run(socket_path(options.control), notifications.Notifications())))
    return 0


async def _run(work: Coroutine[None, None, None]) -> None:
    """Runs until a signal ends it. What has not ended in time, asyncio.run() cancels again."""
    task, ending = asyncio.create_task(work), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, ending.set)
    told = asyncio.create_task(ending.wait())
    await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    told.cancel()
    done, _ = await asyncio.wait([task], timeout=END_SECONDS)
    if done:
        task.result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xensnd-session",
        description="Shows dom0's questions on a person's desktop, with buttons to answer them, "
        "and which guests record.",
        epilog="Runs until the session ends. The agent, the bus and the notification service may "
        "be restarted meanwhile. Exit status: 0 ended by a signal, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument(
        "--control",
        metavar="PATH",
        type=Path,
        help=f"the agent's socket (default: {ENVIRONMENT}, or {DEFAULT_SOCKET})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
