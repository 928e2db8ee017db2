"""So many guests that each plays one steady value: what a sink mixes says how many are heard."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import RawFrontend, RawStream
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import Close, Status, Trigger, TriggerRequest, Write
from xensnd.sndif.states import XenbusState

RATE_HZ = 8000
BUFFER_OCTETS = 64 * 4096  # 32 s of mono U8
SAMPLE = 0x81  # of each guest
HEARD = 0x100  # the same in a sink of S16

START = TriggerRequest(Trigger.START)


class SteadyGuest:
    """A guest whose card is connected. It sounds for as long as its buffer lasts."""

    def __init__(self, guest: Guest, frontend: RawFrontend) -> None:
        self.guest = guest
        self.name = guest.name
        self._frontend = frontend

    @property
    def stream(self) -> RawStream:
        return self._frontend.streams[0]

    def open(self) -> None:
        request = replace(
            self.stream.good_open(BUFFER_OCTETS),
            rate_hz=RATE_HZ,
            sample_format=SampleFormat.U8,
            channels=1,
        )
        ctypes.memset(self.stream.buffer.address, SAMPLE, BUFFER_OCTETS)
        assert self.stream.ask(request) == Status.OK

    def start(self) -> None:
        for request in (Write(0, BUFFER_OCTETS), START):
            assert self.stream.ask(request) == Status.OK

    def play(self) -> None:
        self.open()
        self.start()

    def close(self) -> None:
        assert self.stream.ask(Close()) == Status.OK


@contextmanager
def many_guests(machine: LocalMachine, dom0: Dom0, count: int) -> Iterator[list[SteadyGuest]]:
    """guest-000, guest-001 and so on, each with its card connected."""
    with ExitStack() as stack:
        guests = [Guest(machine, f"guest-{number:03}") for number in range(count)]
        for guest in guests:
            stack.callback(guest.destroy)
        dom0.await_event("device_made", guest=guests[-1].name, seconds=30)
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
    frontend = RawFrontend(transport, store, f"/local/domain/0/backend/vsnd/{guest.domid}/0")
    stack.callback(frontend.forget_streams)
    return frontend


def heard(samples: bytes) -> int:
    """How many guests are heard together at the end of these samples, at full volume."""
    whole = memoryview(samples[: len(samples) // 2 * 2]).cast("h")
    return round(whole[-1] / HEARD) if len(whole) else 0


def play_all(guests: Sequence[SteadyGuest]) -> None:
    for guest in guests:
        guest.open()
    for guest in guests:
        guest.start()
