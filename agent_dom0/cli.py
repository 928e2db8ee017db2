"""The command line of xensnd-dom0."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent_dom0.access.dirwatch import new_inotify
from agent_dom0.access.prompts import ANSWER_SECONDS
from agent_dom0.agent import Agent, Settings, Vchans
from agent_dom0.audio.address import find_server, uses_network
from agent_dom0.control.operations import About
from agent_dom0.engines.process import EngineProcess
from agent_dom0.engines.zygote import Zygote
from agent_dom0.opener.client import OpenerTransport
from agent_dom0.opener.process import run_opener
from agent_dom0.parameters import DEFAULT_LATENCY_USEC, Limits
from agent_dom0.supervisor.confine import LIBPULSE_READS, confine
from agent_dom0.supervisor.heartbeat import Heartbeat
from agent_dom0.supervisor.supervise import supervise
from policy.paths import DEFAULT_DIRECTORY, DEFAULT_RUNTIME, QUBES_IDENTITIES, PolicyPaths
from xensnd.control.client import DEFAULT_SOCKET
from xensnd.errors import UsageError, XensndError
from xensnd.transport.factory import add_transport_option, open_receiver, open_transport
from xensnd.transport.interface import Receiver
from xensnd.version import VERSION

QUBESDB = Path("/run/qubes/qubesdb.sock")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xensnd-dom0",
        description="Serves the sound cards of Xen guests: plays and records for each of them "
        "what policy allows, and keeps an audit trail of every decision.",
        epilog="On SIGHUP it reads the policy again (it also notices changed files by itself); on "
        "SIGTERM it ends. xensnd-policy shows and changes who may play and record.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    add_transport_option(parser)
    parser.add_argument(
        "--policy",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help=f"a directory of policy files; may be repeated (default {DEFAULT_DIRECTORY})",
    )
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help=f"the directory of temporary grants (default {DEFAULT_RUNTIME}; "
        "with --policy or local:DIR, none)",
    )
    parser.add_argument(
        "--server",
        metavar="ADDRESS",
        help="the audio server, as in PULSE_SERVER, or pipewire:[SOCKET] for PipeWire's own "
        "protocol (default: that of this session)",
    )
    parser.add_argument(
        "--audit",
        default="journal",
        metavar="journal|FILE",
        help="where the audit trail is written: the journal (default), or a file of JSON lines",
    )
    parser.add_argument(
        "--latency",
        type=float,
        default=DEFAULT_LATENCY_USEC / 1000,
        metavar="MS",
        help="how many milliseconds of a stream the audio server may queue (default %(default)g)",
    )
    parser.add_argument(
        "--control",
        type=Path,
        metavar="PATH",
        help="the socket to which xensnd-policy connects (default: control in the agent's runtime "
        f"directory, such as {DEFAULT_SOCKET})",
    )
    parser.add_argument(
        "--control-group",
        metavar="GROUP",
        help="a group whose members may use that socket (default: only root and the agent's user)",
    )
    parser.add_argument(
        "--ask-seconds",
        type=float,
        default=ANSWER_SECONDS,
        metavar="S",
        help="how many seconds to wait for a person's answer when policy says ask "
        "(default %(default)g)",
    )
    parser.add_argument(
        "--isolation",
        choices=["guest", "all"],
        default="all",
        help="guest: each guest's rings are served by a process of its own; all: by one for all "
        "guests (default)",
    )
    parser.add_argument(
        "--vchan",
        nargs="?",
        choices=[each.value for each in Vchans],
        const=Vchans.ALL.value,
        help="also serve guests whose sound comes over vchan, as that of Qubes' templates does: "
        "all that run (without a value), or only those that xensnd-pacat registers",
    )
    parser.add_argument(
        "--identities",
        metavar="FILE|none",
        help="on Qubes OS, the file in which xensnd-qubes writes what policy may know of qubes "
        f"(default {QUBES_IDENTITIES} there; with --policy, none)",
    )
    parser.add_argument(
        "--qubesdb",
        metavar="PATH|none",
        help="on Qubes OS, the socket of QubesDB, through which dom0:mic and policy are kept equal "
        f"(default {QUBESDB}, if its directory exists and the transport is not local:DIR)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not 1 <= options.latency <= 2000:
        parser.error(f"--latency {options.latency:g}: give 1 to 2000 milliseconds")
    if not 1 <= options.ask_seconds <= 3600:
        parser.error(f"--ask-seconds {options.ask_seconds:g}: give 1 to 3600")
    logging.basicConfig(level=logging.INFO, format="xensnd-dom0: %(message)s", stream=sys.stderr)
    try:
        receiver = open_receiver(options.transport)  # here, so that no child has to load it
        inotify = new_inotify()
    except UsageError as error:
        print(f"xensnd-dom0: {error}", file=sys.stderr)
        return 1
    return supervise(
        lambda heartbeat, control: _work(
            options, heartbeat, OpenerTransport(control, receiver), receiver, inotify
        ),
        lambda hire, predecessor: run_opener(
            hire, lambda: open_transport(options.transport), predecessor
        ),
    )


def _work(
    options: argparse.Namespace,
    heartbeat: Heartbeat,
    transport: OpenerTransport,
    receiver: Receiver,
    inotify: int,
) -> int:
    options.server = find_server(options.server)
    try:
        transport.connect()
        zygote = None
        if options.isolation == "guest":
            lock = transport.runtime_directory / f"engines-{transport.domid}.lock"
            zygote = Zygote(lock, lambda end: _serve_engine(options, end, receiver))
        asyncio.run(_run(options, heartbeat, transport, zygote, inotify))
    except XensndError as error:
        print(f"xensnd-dom0: {error}", file=sys.stderr)
        return 1
    return 0


def _serve_engine(options: argparse.Namespace, end: socket.socket, receiver: Receiver) -> None:
    home = Path(os.environ.get("HOME", "/nonexistent"))
    cookies = [home / ".config/pulse", home / ".pulse-cookie"]
    cookies += [Path(os.environ["PULSE_COOKIE"])] if "PULSE_COOKIE" in os.environ else []
    read = [*LIBPULSE_READS, *cookies]
    confine([], receiver.ioctls, network=uses_network(options.server), read=read)
    EngineProcess(end, receiver).run()


async def _run(
    options: argparse.Namespace,
    heartbeat: Heartbeat,
    transport: OpenerTransport,
    zygote: Zygote | None,
    inotify: int,
) -> None:
    try:
        settings = Settings(
            transport=transport,
            policy=_policy_paths(options),
            about=About(VERSION, options.transport, options.server),
            audit=options.audit,
            inotify=inotify,
            limits=Limits(latency_usec=int(options.latency * 1000)),
            control=options.control or transport.runtime_directory / "control",
            control_group=options.control_group,
            ask_seconds=options.ask_seconds,
            zygote=zygote,
            vchans=Vchans(options.vchan) if options.vchan else None,
            qubesdb=_qubesdb(options),
        )
        _confine(settings, transport.ioctls, network=uses_network(options.server))
        await Agent(settings).run(heartbeat)
    finally:
        transport.close()


def _confine(settings: Settings, ioctls: Sequence[int], *, network: bool) -> None:
    """Give up what the agent does not need, before it meets a guest's octets."""
    written = [
        settings.transport.runtime_directory,
        settings.control.parent,
        *settings.policy.all_directories,
        *([Path(settings.audit).parent] if settings.audit != "journal" else []),
    ]
    confine(written, ioctls, network=network)


def _policy_paths(options: argparse.Namespace) -> PolicyPaths:
    paths = PolicyPaths.of_options(options.policy, options.runtime, options.identities)
    if not options.transport.startswith("local:"):
        return paths
    # The machine's grants, and what is known of its guests, are not for the guests of local:DIR.
    if options.runtime is None:
        paths = replace(paths, runtime=None)
    return paths if options.identities is not None else replace(paths, platform=None)


def _qubesdb(options: argparse.Namespace) -> Path | None:
    """Return the socket of QubesDB; None: this is not Qubes. The socket itself need not exist yet:
    nobody records until QubesDB answers."""
    if options.qubesdb is not None:
        return None if options.qubesdb == "none" else Path(options.qubesdb)
    is_qubes = QUBESDB.parent.is_dir() and not options.transport.startswith("local:")
    return QUBESDB if is_qubes else None


if __name__ == "__main__":
    sys.exit(main())
