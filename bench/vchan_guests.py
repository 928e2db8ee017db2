"""Guests that play over vchan as Qubes' module for PulseAudio does, all in this process: `python -m
bench.vchan_guests URL NAME...`. Each keeps its ring full, and writes when it is told of room. It
says `playing` on standard output when all of them do.
"""

from __future__ import annotations

import select
import sys
from dataclasses import dataclass
from typing import Any

from tests.support.raw_frontend import eventually
from tests.support.vchan_server import VchanServer
from xensnd.transport.local import LocalTransport
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

PLAYBACK_ORDERS, CAPTURE_ORDERS = (11, 13), (13, 11)
WAIT_SECONDS = 10
SOUND = bytes(range(1, 252)) * 34  # of which no frame is silence; more than a ring has


@dataclass(frozen=True, slots=True)
class _Guest:
    store: Any  # it is connected as long as the guest is there
    playback: VchanServer
    capture: VchanServer


def offer(url: str, name: str) -> _Guest:
    transport = LocalTransport(url.removeprefix("local:"), name)
    store = transport.open_store()
    guest = _Guest(
        store,
        VchanServer(transport, store, PLAYBACK_PORT, *PLAYBACK_ORDERS),
        VchanServer(transport, store, CAPTURE_PORT, *CAPTURE_ORDERS),
    )
    for server in (guest.playback, guest.capture):
        server.offer()
    return guest


def serve(guests: list[_Guest]) -> None:
    """Write what there is room for, at each event, without an end."""
    told = select.epoll()
    by_fd = {guest.playback.channel.fds.wait_fd: guest.playback for guest in guests}
    for fd, server in by_fd.items():
        told.register(fd, select.EPOLLIN)
        server.write(SOUND)
    print("playing", flush=True)
    while True:
        for fd, _ in told.poll():
            server = by_fd[fd]
            server.channel.clear()
            while server.write(SOUND):
                pass


def main(url: str, *names: str) -> None:
    guests = [offer(url, name) for name in names]
    servers = [server for guest in guests for server in (guest.playback, guest.capture)]
    assert eventually(lambda: all(server.has_client for server in servers), WAIT_SECONDS)
    for server in servers:
        server.withdraw()
    serve(guests)


if __name__ == "__main__":
    main(*sys.argv[1:])
