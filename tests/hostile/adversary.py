"""A guest's process that harms whom it can, an act of acts.py at a time.

    python -m tests.hostile.adversary DIRECTORY DOMAIN LIBRARY     on a local machine
    python -m tests.hostile.adversary LIBRARY                      in a guest of Xen

LIBRARY is adversary.c, built. What it is told comes a JSON line at a time: see
tests/support/peer.py. Beside the act it records, if its card is served, and knows since when it
hears nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.hostile.acts import START, Act, Loop
from tests.hostile.performer import Performer
from tests.hostile.vcpu import Busy, Watch, busy_with_ring
from tests.support.large_card import large_card
from tests.support.peer import serve
from tests.support.raw_frontend import RawFrontend, RawStream, eventually
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.packets import Status
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import MAX_STREAMS
from xensnd.transport.factory import open_transport
from xensnd.transport.interface import Transport

LOOK_SECONDS = 0.02
RECONNECT_SECONDS = 0.05
PLAYBACK, CAPTURE = 0, 1  # of the default card's streams
CROWD = 64
DEVICE_SECONDS = 30


class Adversary(Performer):
    def __init__(self, transport: Transport, library: Path) -> None:
        super().__init__()
        self._transport = transport
        self._store = transport.open_store()
        assert eventually(self._has_card, DEVICE_SECONDS), "the guest has no card"
        backend = self._store.read("device/vsnd/0/backend")
        self._frontend = RawFrontend(transport, self._store, backend)
        self._library = library
        self._watching = threading.Lock()
        self._watch: Watch | None = None
        self._live_octets = self._last_live_ns = 0  # of earlier watches

    # What it is told

    def live_octets(self) -> int:
        """All that was recorded up to now and was not silence."""
        with self._watching:
            return self._live_octets + (0 if self._watch is None else self._watch.look())

    def last_live_ns(self) -> int:
        """When that was last so, by time.monotonic_ns()."""
        with self._watching:
            return self._last_live_ns if self._watch is None else self._watch.last_live_ns

    # What it does

    def rest(self) -> None:
        time.sleep(LOOK_SECONDS)

    def write_state(self) -> None:
        self._frontend.enter(XenbusState.CONNECTED)

    def reconnect(self) -> None:
        """Not so often that its nodes' budget answers first."""
        self._frontend.enter(XenbusState.CLOSED)
        eventually(lambda: not self._is_served())
        self._ended.wait(RECONNECT_SECONDS)

    def crowd(self) -> None:
        """A card of many streams, which are all opened; then it waits until the card is closed."""
        if len(self._frontend.streams) == CROWD:
            time.sleep(LOOK_SECONDS)
            return
        self._frontend.begin_afresh()
        self._frontend.forget_streams()
        self._frontend.write(large_card(CROWD))
        for number in range(CROWD):
            stream = RawStream(self._transport)
            self._frontend.streams.append(stream)
            path = f"{number // MAX_STREAMS}/{number % MAX_STREAMS}"
            nodes = stream.rings.nodes()
            self._frontend.write({f"{path}/{name}": nodes[name] for name in nodes})
        self._frontend.enter(XenbusState.INITIALISED)
        while not self._is_served() and not self._ended.wait(LOOK_SECONDS):
            pass
        if self._is_served():
            self._frontend.enter(XenbusState.CONNECTED)
            for stream in self._frontend.streams:
                stream.ask(stream.good_open())

    def perform(self, act: Act) -> None:
        if self._connects():
            self._perform_while_served(act)

    def _perform_while_served(self, act: Act) -> None:
        streams = self._frontend.streams
        with ExitStack() as stack:
            if act.records and self._opens(streams[CAPTURE]):
                stack.enter_context(self._watched(streams[CAPTURE]))
            if isinstance(act.work, str):
                work = getattr(self, act.work)
                while self._is_served() and not self._ended.is_set():
                    work()
                    self._count += 1
                return
            busy = [self._busy(act.work, streams[ring]) for ring in act.work.rings]
            for each in busy:
                stack.enter_context(each)
            while self._is_served() and not self._ended.wait(LOOK_SECONDS):
                pass
        self._count += sum(each.count for each in busy)

    @contextmanager
    def _watched(self, stream: RawStream) -> Iterator[None]:
        with Watch(self._library, stream) as watch:
            self._watch = watch
            yield
            with self._watching:
                self._live_octets += watch.look()
                self._last_live_ns = watch.last_live_ns or self._last_live_ns
                self._watch = None

    def _busy(self, loop: Loop, stream: RawStream) -> Busy:
        for request in loop.first(stream):
            stream.ask(request)
        requests = loop.requests(stream)
        return busy_with_ring(self._library, loop.name, stream, requests, notifies=loop.notifies)

    def _connects(self) -> bool:
        """As it should be done. False: it is not let in now."""
        if self._frontend.backend_state() is XenbusState.CLOSED:
            self._frontend.enter(XenbusState.CLOSED)
        states = {XenbusState.INIT_WAIT, XenbusState.CONNECTED}
        if not eventually(lambda: self._frontend.backend_state() in states, 0.5):
            return False
        self._frontend.begin_afresh()
        self._frontend.forget_streams()
        self._frontend.offer_rings()
        self._frontend.enter(XenbusState.INITIALISED)
        ends = {XenbusState.CONNECTED, XenbusState.CLOSED}
        eventually(lambda: self._frontend.backend_state() in ends or self._ended.is_set())
        if self._is_served():
            self._frontend.enter(XenbusState.CONNECTED)
        return self._is_served()

    def _opens(self, stream: RawStream) -> bool:
        return stream.ask(stream.good_open()) == stream.ask(START) == Status.OK

    def _is_served(self) -> bool:
        return self._frontend.backend_state() is XenbusState.CONNECTED

    def _has_card(self) -> bool:
        with suppress(KeyError, RemoteProtocolError):
            return bool(self._store.read("device/vsnd/0/backend"))
        return False


def main(*arguments: str) -> None:
    *local, library = arguments
    transport = open_transport(f"local:{local[0]}", local[1]) if local else open_transport("xen:")
    serve(Adversary(transport, Path(library)))


if __name__ == "__main__":
    main(*sys.argv[1:])
