"""So many guests that each plays one steady value: what a sink mixes says how many are heard."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import RawFrontend, RawStream
from xensnd.sndif.packets import Open, Status, Trigger, TriggerRequest, Write
from xensnd.sndif.states import XenbusState

RATE_HZ = 8000
FRAME_OCTETS = 2
BUFFER_OCTETS = 16 * RATE_HZ * FRAME_OCTETS  # 16 s
VALUE = 100  # of each sample of each guest

START = TriggerRequest(Trigger.START)


class SteadyGuest:
    """A guest whose playback is open; play() sounds for as long as its buffer lasts."""

    def __init__(self, guest: Guest, frontend: RawFrontend) -> None:
        self.guest = guest
        self.name = guest.name
        self._frontend = frontend
        self._open: Open | None = None

    @property
    def stream(self) -> RawStream:
        return self._frontend.streams[0]

    def open(self, stream: RawStream | None = None) -> None:
        stream = stream or self.stream
        octets = BUFFER_OCTETS // 4096 * 4096
        request = replace(stream.good_open(octets), rate_hz=RATE_HZ, channels=1)
        samples = array("h", [VALUE]) * (octets // FRAME_OCTETS)
        ctypes.memmove(stream.buffer.address, samples.tobytes(), octets)
        assert stream.ask(request) == Status.OK

    def play(self) -> None:
        self.open()
        assert self.stream.ask(Write(0, BUFFER_OCTETS // 4096 * 4096)) == Status.OK
        assert self.stream.ask(START) == Status.OK


@contextmanager
def many_guests(
    machine: LocalMachine, dom0: Dom0, count: int, first: int = 0
) -> Iterator[list[SteadyGuest]]:
    """So many, each with its card connected."""
    with ExitStack() as stack:
        guests = [Guest(machine, f"guest-{number:03}") for number in range(first, first + count)]
        for guest in guests:
            stack.callback(guest.destroy)
        dom0.await_event("device_made", count=count, seconds=30)
        frontends = [_frontend(machine, guest, stack) for guest in guests]
        for frontend in frontends:
            frontend.offer_rings()
        for frontend in frontends:
            frontend.enter(XenbusState.INITIALISED)
        for frontend in frontends:
            frontend.await_backend(XenbusState.CONNECTED)
            frontend.enter(XenbusState.CONNECTED)
        yield [SteadyGuest(*pair) for pair in zip(guests, frontends, strict=True)]


def _frontend(machine: LocalMachine, guest: Guest, stack: ExitStack) -> RawFrontend:
    transport = machine.transport(guest.name)
    store = transport.open_store()
    stack.callback(transport.close)
    stack.callback(store.close)
    return RawFrontend(transport, store, f"/local/domain/0/backend/vsnd/{guest.domid}/0")


def heard(samples: bytes) -> int:
    """How many guests are heard together in the last of these samples, a sink's of RATE_HZ."""
    whole = memoryview(samples[: len(samples) // 2 * 2]).cast("h")
    return round(whole[-1] / VALUE) if len(whole) else 0


def play_all(guests: Sequence[SteadyGuest]) -> None:
    for guest in guests:
        guest.play()
