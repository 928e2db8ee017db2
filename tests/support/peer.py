"""A domain's process in a test: it does what it is told, one JSON line at a time."""

from __future__ import annotations

import ctypes
import json
import select
import subprocess
import sys
from typing import Any, Self

from xensnd.errors import XensndError
from xensnd.transport.interface import EventChannel, Pages, Transport
from xensnd.transport.local import LocalTransport

WAIT_SECONDS = 5


def read_memory(pages: Pages, offset: int, octets: int) -> bytes:
    return ctypes.string_at(pages.address + offset, octets)


def write_memory(pages: Pages, offset: int, content: bytes) -> None:
    ctypes.memmove(pages.address + offset, content, len(content))


def has_event(channel: EventChannel) -> bool:
    """Waits for one, and takes it."""
    fired = bool(select.select([channel.fds.wait_fd], [], [], WAIT_SECONDS)[0])
    channel.clear()
    return fired


class Peer:
    """`with Peer(directory, "work") as peer: peer.do("share", 0, 4)`: see the methods below.

    `module` is what runs there: this one, or another that ends in serve(). `arguments` are what
    that one wants besides.
    """

    def __init__(
        self,
        directory: str,
        domain: str | None,
        *arguments: str,
        module: str = "tests.support.peer",
    ) -> None:
        self._command = [sys.executable, "-m", module, directory, domain or "", *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def do(self, what: str, *arguments: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([what, *arguments]), file=self._process.stdin, flush=True)
        return result(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Worker:
    """What a peer does with its transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pages: list[Pages] = []
        self._channels: list[EventChannel] = []

    def share(self, peer: int, count: int) -> list[int]:
        self._pages.append(self._transport.share_pages(peer, count))
        return list(self._pages[-1].refs)

    def map(self, peer: int, refs: list[int]) -> None:
        self._pages.append(self._transport.map_pages(peer, refs, writable=True))

    def write(self, which: int, offset: int, text: str) -> None:
        write_memory(self._pages[which], offset, text.encode())

    def read(self, which: int, offset: int, octets: int) -> str:
        return read_memory(self._pages[which], offset, octets).decode()

    def allocate(self, peer: int) -> int:
        self._channels.append(self._transport.allocate_channel(peer))
        return self._channels[-1].port

    def bind(self, peer: int, port: int) -> int:
        self._channels.append(self._transport.bind_channel(peer, port))
        return self._channels[-1].port

    def notify(self, which: int) -> None:
        self._channels[which].notify()

    def wait(self, which: int) -> bool:
        return has_event(self._channels[which])


def serve(worker: object) -> None:
    """Does what it is told until nobody tells it any more."""
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(worker, what)(*arguments)}
        except (XensndError, OSError) as error:
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def result(answer: bytes | str) -> Any:
    """What a line of serve() says. Refused: the exception there."""
    said = json.loads(answer)
    if "refused" in said:
        raise Refused(said["refused"])
    return said["result"]


class Refused(Exception):
    """Type and text of the exception there."""


if __name__ == "__main__":
    _directory, _domain = sys.argv[1:]
    serve(Worker(LocalTransport(_directory, _domain or None)))
