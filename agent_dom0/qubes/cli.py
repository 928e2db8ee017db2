"""The service xensnd-qubes: keeps for policy what Qubes OS says of its qubes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from agent_dom0.qubes.admin import AdminApi, AdminTransport, QrexecCalls, QubesdSocket
from agent_dom0.qubes.identities import IdentityFollower
from policy.paths import QUBES_IDENTITIES
from xensnd.version import VERSION

QUBESD = Path("/run/qubesd.sock")
QREXEC = "/usr/bin/qrexec-client-vm"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xensnd-qubes",
        description="Keeps for policy what Qubes OS says of its qubes: class, label, template and "
        "tags. Runs as a service in dom0 or in an AudioVM.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument(
        "--qubesd",
        metavar="SOCKET",
        type=Path,
        help=f"the socket of qubesd (default: {QUBESD} in dom0)",
    )
    parser.add_argument(
        "--qrexec",
        metavar="COMMAND",
        help=f"the program that calls dom0 (default: {QREXEC} in other domains)",
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        type=Path,
        default=QUBES_IDENTITIES,
        help="where it is kept (default %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="xensnd-qubes: %(message)s", stream=sys.stderr)
    if not os.access(options.file.parent, os.W_OK):
        logging.error("%s: no directory that can be written", options.file.parent)
        return 1
    try:
        asyncio.run(_run(_transport(options), options.file))
    except asyncio.CancelledError:
        return 0
    return 0


def _transport(options: argparse.Namespace) -> AdminTransport:
    if options.qrexec is not None or (options.qubesd is None and Path(QREXEC).exists()):
        return QrexecCalls(options.qrexec or QREXEC)
    return QubesdSocket(options.qubesd or QUBESD)


async def _run(transport: AdminTransport, file: Path) -> None:
    """Run until a signal. What is known stays in the file: the service's directory goes with it."""
    task = cast(asyncio.Task[None], asyncio.current_task())
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    await IdentityFollower(AdminApi(transport), file).run()


if __name__ == "__main__":
    sys.exit(main())
