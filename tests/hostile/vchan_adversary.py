"""A guest's process that harms whom it can over its vchans, an act of acts.py at a time.

    python -m tests.hostile.vchan_adversary DIRECTORY DOMAIN LIBRARY     on a local machine
    python -m tests.hostile.vchan_adversary LIBRARY                      in a guest of Xen

See adversary.py. Beside the act it reads its microphone, each millisecond.
"""

from __future__ import annotations

import itertools
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.hostile.acts import Act, Loop
from tests.hostile.performer import Performer
from tests.hostile.vcpu import Busy
from tests.support.peer import serve
from tests.support.raw_frontend import eventually
from tests.support.vchan_server import VchanServer
from xensnd.transport.factory import open_transport
from xensnd.transport.interface import Transport
from xensnd.vchan.control import ControlWord
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

LOOK_SECONDS = 0.02
READ_SECONDS = 0.001
CLIENT_SECONDS = 0.5
OFFER_SECONDS = 0.03  # so that the nodes' own budget does not answer first, each time

_ORDERS_AT, _REFS_AT = 16, 24
_WORDS = [struct.pack("<I", word) for word in (ControlWord.SOURCE_START, ControlWord.SOURCE_STOP)]
_ORDERS = [(9, 11), (11, 21), (0, 0), (255, 255), (11, 11), (20, 20), (2**16 - 1, 12)]
_REFS = [0, 1, 2**31, 2**32 - 1]
_NUMBERS = ["0", "-1", "4294967295", "4294967296", "x", ""]

Servers = tuple[VchanServer, VchanServer]


class VchanAdversary(Performer):
    def __init__(self, transport: Transport, library: Path) -> None:
        super().__init__()
        self._transport = transport
        self._store = transport.open_store()
        self._library = library
        self._lock = threading.Lock()
        self._capture: VchanServer | None = None  # while it records
        self._live_octets = self._last_live_ns = 0
        self._bad_offers = itertools.cycle(
            [
                *((orders, None, None) for orders in _ORDERS),
                *(((13, 11), ref, None) for ref in _REFS),
                *(((13, 11), None, number) for number in _NUMBERS),
            ]
        )

    # What it is told

    def live_octets(self) -> int:
        with self._lock:
            self._read_microphone()
            return self._live_octets

    def last_live_ns(self) -> int:
        with self._lock:
            self._read_microphone()
            return self._last_live_ns

    # What it does

    def perform(self, act: Act) -> None:
        if isinstance(act.work, str):
            getattr(self, act.work)()
            self._count += 1
            return
        with self._offered() as servers:
            if self._is_connected(servers):
                self._perform_while_served(act, act.work, servers)

    def offer_badly(self) -> None:
        """The next of the bad offers, on both ports."""
        orders, ref, number = next(self._bad_offers)
        with self._made() as servers:
            for server in servers:
                server.write_page(_ORDERS_AT, struct.pack("<2H", *orders))
                if ref is not None:
                    server.write_page(_REFS_AT, struct.pack("<2I", ref, ref))
                server.offer()
                if number is not None:
                    self._store.write(server.nodes.ring_ref, number)
                    self._store.write(server.nodes.event_channel, number)
            self._ended.wait(OFFER_SECONDS)

    def write_nodes(self) -> None:
        with self._made() as servers:
            servers[0].offer()
            node = servers[0].nodes.event_channel
            value = self._store.read(node)
            while not self._ended.is_set():
                self._store.write(node, value)
                self._count += 1

    def come_and_go(self) -> None:
        with self._offered() as servers:
            self._is_connected(servers)

    def _perform_while_served(self, act: Act, loop: Loop, servers: Servers) -> None:
        busy = [self._busy(loop, servers[ring]) for ring in loop.rings]
        with ExitStack() as stack:
            if act.records:
                servers[1].write(_WORDS[0])
                stack.enter_context(self._recording(servers[1]))
            for each in busy:
                stack.enter_context(each)
            while _are_open(servers) and not self._ended.wait(LOOK_SECONDS):
                pass
        self._count += sum(each.count for each in busy)

    def _busy(self, loop: Loop, server: VchanServer) -> Busy:
        page, fds = server.page_address, server.channel.fds
        return Busy(self._library, loop.name, page, fds, _WORDS, notifies=loop.notifies)

    @contextmanager
    def _recording(self, capture: VchanServer) -> Iterator[None]:
        ends = threading.Event()

        def read() -> None:
            while not ends.wait(READ_SECONDS):
                with self._lock:
                    self._read_microphone()

        self._capture = capture
        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()
            with self._lock:
                self._read_microphone()
                self._capture = None

    def _read_microphone(self) -> None:
        octets = b"" if self._capture is None else self._capture.read()
        if live := len(octets) - octets.count(0):
            self._live_octets += live
            self._last_live_ns = time.monotonic_ns()

    @contextmanager
    def _made(self) -> Iterator[Servers]:
        """Both vchans, as PulseAudio's module has them; closed when the block ends."""
        with ExitStack() as stack:
            made = []
            for port, orders in ((PLAYBACK_PORT, (11, 13)), (CAPTURE_PORT, (13, 11))):
                made.append(VchanServer(self._transport, self._store, port, *orders))
                stack.callback(made[-1].close)
            yield made[0], made[1]

    @contextmanager
    def _offered(self) -> Iterator[Servers]:
        with self._made() as servers:
            for server in servers:
                server.offer()
            yield servers

    def _is_connected(self, servers: Servers) -> bool:
        """Whether its client comes, for which the nodes are removed then."""
        if not eventually(lambda: all(each.has_client for each in servers), CLIENT_SECONDS):
            return False
        for server in servers:
            server.withdraw()
        return True


def _are_open(servers: Servers) -> bool:
    return all(server.is_open for server in servers)


def main(*arguments: str) -> None:
    *local, library = arguments
    transport = open_transport(f"local:{local[0]}", local[1]) if local else open_transport("xen:")
    serve(VchanAdversary(transport, Path(library)))


if __name__ == "__main__":
    main(*sys.argv[1:])
