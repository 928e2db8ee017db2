"""`xensnd-localxen`: runs the stand-in for Xen, and creates and destroys its domains."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

from xensnd.errors import UsageError, XensndError
from xensnd.localxen import toolstack
from xensnd.localxen.server import LocalServer
from xensnd.transport.local import LocalTransport

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        return _complain(error, EXIT_USAGE)
    except (XensndError, OSError) as error:
        return _complain(error, 1)
    return 0


def _complain(error: Exception, status: int) -> int:
    print(f"xensnd-localxen: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xensnd-localxen",
        description="Stands in for Xen on this machine: domains, grants, event channels, XenStore.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the directory of its sockets")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="run until SIGTERM; prints `ready` when clients may connect"
    )
    serve.add_argument(
        "--store",
        type=Path,
        metavar="SOCKET",
        help="use the xenstored at this socket instead of the built-in store; guests then connect"
        " to it as domain 0, and no permission is refused to them",
    )
    serve.set_defaults(run=_serve)

    create = commands.add_parser("create", help="create a running domain; prints its domid")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--uuid", type=UUID, metavar="U")
    create.set_defaults(run=_create)

    destroy = commands.add_parser("destroy", help="destroy a domain")
    destroy.add_argument("name", metavar="NAME")
    destroy.set_defaults(run=_destroy)

    list_ = commands.add_parser("list", help="list the domains by domid and name")
    list_.set_defaults(run=_list)
    return parser


def _serve(options: argparse.Namespace) -> None:
    directory: Path = options.directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{directory} is already served by another xensnd-localxen") from None
    server = LocalServer(directory, options.store.absolute() if options.store else None)
    asyncio.run(server.run(lambda: print("ready", flush=True)))
    os.close(lock)


def _create(options: argparse.Namespace) -> None:
    with _transport(options) as transport:
        print(toolstack.create(transport, options.name, options.uuid))


def _destroy(options: argparse.Namespace) -> None:
    with _transport(options) as transport:
        toolstack.destroy(transport, options.name)


def _list(options: argparse.Namespace) -> None:
    with _transport(options) as transport:
        for name, domid in transport.domains().items():
            print(f"{domid:5} {name}")


def _transport(options: argparse.Namespace) -> closing[LocalTransport]:
    return closing(LocalTransport(options.directory))


if __name__ == "__main__":
    sys.exit(main())
