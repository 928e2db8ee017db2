"""xensnd-pacat: stands in for Qubes' pacat-simple-vchan, which qvm-start-daemon runs for each qube.

It has the same command line, pidfile and end, and plays nothing: it registers the qube with the
agent, which serves the qube's vchans for as long as this program runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, cast

from xensnd.backoff import BackOff
from xensnd.control.client import (
    DEFAULT_SOCKET,
    ENVIRONMENT,
    AsyncAgentClient,
    Message,
    socket_path,
)
from xensnd.control.messages import DOMID_MAX
from xensnd.errors import UsageError
from xensnd.lock import only_one
from xensnd.version import VERSION

PROGRAM = "xensnd-pacat"
PIDFILE_DIRECTORY = Path("/var/run/qubes")

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 2.0

_NO_AGENT = "no agent answers, is xensnd-dom0 running?"
_VOLUME = "set it with: xensnd-policy volume GUEST PERCENT, or mute GUEST"


class _Parser(argparse.ArgumentParser):
    """Wrong usage is exit status 1, as it is of pacat-simple-vchan."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{PROGRAM}: {message}; see {PROGRAM} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [options] XID NAME",
        description="Has the running agent serve a qube's sound over vchan, in place of "
        "pacat-simple-vchan, until it is told to end.",
        epilog="Exit status: 0 ended by a signal; 1 wrong usage, another process serves the qube, "
        "or the agent refuses. If no agent runs, it waits for one.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    for letter, was in {
        "l": "low latency",
        "n": "never block",
        "b": "always block",
        "v": "say more",
    }.items():
        parser.add_argument(f"-{letter}", action="store_true", help=f"{was}; no effect here")
    parser.add_argument(
        "-t",
        metavar="OCTETS",
        type=_octets,
        help="what is queued; no effect: the agent's --latency",
    )
    parser.add_argument("-V", metavar="WHAT", help=f"refused: {_VOLUME}")
    parser.add_argument(
        "--control",
        metavar="PATH",
        type=Path,
        help=f"the agent's socket (default: {ENVIRONMENT}, or {DEFAULT_SOCKET})",
    )
    parser.add_argument(
        "--pidfile",
        metavar="PATH",
        type=Path,
        help=f"the pidfile, which is locked (default: {PIDFILE_DIRECTORY}/pacat.XID)",
    )
    parser.add_argument("xid", metavar="XID", type=_domid, help="the domain's number")
    parser.add_argument("name", metavar="NAME", help="the qube's name")
    return parser


def _octets(text: str) -> int:
    try:
        octets = int(text, 0)
    except ValueError:
        octets = -1
    if not 0 <= octets < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of octets")
    return octets


def _domid(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if not is_number or not 0 < int(text) <= DOMID_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no guest's number; give 1 to {DOMID_MAX}, as xl list shows it"
        )
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.V is not None:
        parser.error(f"-V: the agent keeps the volume; {_VOLUME}")
    try:
        pidfile = options.pidfile or PIDFILE_DIRECTORY / f"pacat.{options.xid}"
        registrar = _Registrar(socket_path(options.control), options.xid, options.name)
        asyncio.run(_run(pidfile, options.xid, registrar))
    except UsageError as error:
        _say(error)
        return 1
    return 0


def _say(error: object) -> None:
    print(f"{PROGRAM}: {error}", file=sys.stderr, flush=True)


# The pidfile


def _hold(path: Path, xid: int) -> int:
    """Write the pidfile, and return the descriptor that locks it. UsageError: it cannot be."""
    if not path.parent.is_dir():  # which is not made: it says that this is Qubes
        raise UsageError(f"{path.parent}: no such directory; this is for Qubes, or give --pidfile")
    shown = str(path).replace("{", "{{").replace("}", "}}")
    return only_one(
        path, f"{shown}: process {{pid}} serves domain {xid} already; end it first (SIGTERM)"
    )


def _release(path: Path, lock: int) -> None:
    """Remove the pidfile, unless qvm-start-daemon has, and another process has written its own."""
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(lock)):
            path.unlink()
    os.close(lock)


# The registration


async def _run(pidfile: Path, xid: int, registrar: _Registrar) -> None:
    """Keep the guest registered until a signal ends it. Whoever finds the pidfile may send one."""
    task = cast(asyncio.Task[None], asyncio.current_task())
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    lock = _hold(pidfile, xid)
    try:
        with suppress(asyncio.CancelledError):
            await registrar.run()
    finally:
        _release(pidfile, lock)


class _RefusedError(Exception):
    """The agent refuses, and says why."""


class _Registrar:
    """Keeps a guest registered, over any number of agents."""

    def __init__(self, control: Path, xid: int, name: str) -> None:
        self._control = control
        self._xid = xid
        self._name = name
        self._was_registered = False
        self._problem: str | None = None  # what was said last
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)

    async def run(self) -> NoReturn:
        """Run until it is cancelled. UsageError: the first agent that answers refuses. What a later
        one refuses is tried again: its group or its options may change."""
        while True:
            try:
                await self._stay_registered()
            except (FileNotFoundError, ConnectionError):
                self._tell(_NO_AGENT)
            except PermissionError:
                self._refuse("this user may not; be in the group of the agent's --control-group")
            except _RefusedError as refused:
                self._refuse(str(refused))
            except (OSError, ValueError) as error:
                self._tell(str(error))
            await self._back_off.wait()

    async def _stay_registered(self) -> None:
        """OSError, ValueError: the agent is gone, or breaks the protocol. _RefusedError."""
        agent = await AsyncAgentClient.connect(self._control)
        try:
            agent.request("register", self._answered, domid=self._xid, name=self._name)
            async for _ in agent.events():
                pass
        finally:
            agent.close()

    def _answered(self, answer: Message) -> None:
        if not answer["ok"]:
            raise _RefusedError(answer.get("error", "the agent refuses and does not say why"))
        if self._problem is not None:
            _say(f"{self._control}: the guest is registered")
        self._was_registered = True
        self._problem = None
        self._back_off.reset()

    def _refuse(self, why: str) -> None:
        """End, unless an agent has accepted this guest before."""
        if not self._was_registered:
            raise UsageError(f"{self._control}: {why}")
        self._tell(why)

    def _tell(self, problem: str) -> None:
        """Say it once, until the guest is registered again."""
        if problem != self._problem:
            self._problem = problem
            _say(f"{self._control}: {problem}; it is tried again")


if __name__ == "__main__":
    sys.exit(main())
