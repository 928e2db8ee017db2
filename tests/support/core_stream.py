"""Both ends of a stream of the core in one process, over eventfds, without an audio server."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from xensnd.core import BackendStream, Budget, Engine, FrontendStream, PcmParameters
from xensnd.sndif.packets import (
    Request,
    Response,
    Status,
    Trigger,
    TriggerRequest,
    decode_event,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    peek_request,
)
from xensnd.transport.interface import EventFds
from xensnd.transport.local.memory import Page, PageMapping, create_pages

T = TypeVar("T")

PAGE_OCTETS = 4096
RATE_HZ = 48000
FRAME_OCTETS = 4
OCTETS_A_MSEC = RATE_HZ // 1000 * FRAME_OCTETS
WAIT_SECONDS = 10.0

START = TriggerRequest(Trigger.START)
STOP = TriggerRequest(Trigger.STOP)
EINVAL = Status.EINVAL


def config(buffer_msec: int = 500, period_msec: int = 10, silence_octet: int = 0) -> PcmParameters:
    return PcmParameters(
        rate_hz=RATE_HZ,
        frame_octets=FRAME_OCTETS,
        buffer_octets=buffer_msec * OCTETS_A_MSEC,
        period_octets=period_msec * OCTETS_A_MSEC,
        silence_octet=silence_octet,
    )


class Memory:
    """Pages of this process, as both ends have them mapped."""

    def __init__(self, octets: int) -> None:
        count = -(-octets // PAGE_OCTETS)
        self.fd = create_pages(count)
        self.count = count
        self.mapping = PageMapping([Page(self.fd, index) for index in range(count)], writable=True)
        self.address = self.mapping.address
        array = (ctypes.c_char * self.mapping.octets).from_address(self.address)
        self.octets = memoryview(array).cast("B")
        self.words = self.octets.cast("I")

    def unmap(self) -> None:
        self.octets.release()
        self.words.release()
        self.mapping.close()
        os.close(self.fd)


def fd_pair() -> tuple[EventFds, EventFds]:
    """An event channel: one end, and the other."""
    one, other = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
    return EventFds(one, other), EventFds(other, one)


def is_readable(fd: int, seconds: float = 0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def until(engine: Engine, condition: Callable[[], T]) -> T:
    """What the condition gives once it holds. Waits as an agent does: for the engine's wake."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        left = deadline - time.monotonic()
        assert left > 0, "nothing came of it"
        is_readable(engine.fileno(), left)
        engine.clear()
    return value


@dataclass
class Guest:
    """A frontend by hand, honest or not: it knows what each octet of its two pages means."""

    ring: Memory
    event_page: Memory
    requests: EventFds
    events: EventFds
    asked: int = 0
    answered: int = 0
    heard: int = 0
    positions: list[int] = field(default_factory=list)

    def send(self, *requests: Request, notify: bool = True) -> None:
        """At once, with their number as id."""
        for request in requests:
            slot = 64 + self.asked % 32 * 64
            self.ring.octets[slot : slot + 64] = encode_request(self.asked & 0xFFFF, request)
            self.asked += 1
        self.ring.words[0] = self.asked
        if notify:
            self.notify()

    def notify(self) -> None:
        os.eventfd_write(self.requests.notify_fd, 1)

    def answers(self) -> list[Response]:
        """Those that have come since the last look."""
        responses = []
        while self.answered != self.ring.words[2]:
            slot = 64 + self.answered % 32 * 64
            responses.append(decode_response(bytes(self.ring.octets[slot : slot + 64])))
            self.answered += 1
        return responses

    def await_answers(self, count: int) -> list[Response]:
        responses = self.answers()
        while len(responses) < count:
            assert is_readable(self.requests.wait_fd, WAIT_SECONDS), "no answer"
            os.eventfd_read(self.requests.wait_fd)
            responses += self.answers()
        return responses

    def ask(self, request: Request) -> int:
        """The status of a request that needs nobody's decision."""
        self.send(request)
        return self.await_answers(1)[0].status

    def hear(self) -> None:
        """Takes all events that are there."""
        while self.heard != self.event_page.words[1]:
            slot = 64 + self.heard % 63 * 64
            event_id, event = decode_event(bytes(self.event_page.octets[slot : slot + 64]))
            assert event_id == self.heard & 0xFFFF
            self.positions.append(event.position_octets)
            self.heard += 1
        self.event_page.words[0] = self.heard

    def await_position(self, octets: int) -> None:
        """Takes all events on the way."""
        self.hear()
        while not self.positions or self.positions[-1] < octets:
            assert is_readable(self.events.wait_fd, WAIT_SECONDS), "the position stands still"
            os.eventfd_read(self.events.wait_fd)
            self.hear()


class Setting:
    """A backend's stream and what a frontend needs to reach it."""

    def __init__(
        self, *, playback: bool, engine: Engine | None = None, budget: Budget | None = None
    ) -> None:
        self.budget = budget or Budget()
        self._own_engine = None if engine else Engine()
        self.engine = engine or self._own_engine or Engine()
        self.playback = playback
        self.ring, self.event_page = Memory(PAGE_OCTETS), Memory(PAGE_OCTETS)
        self.requests, self.guest_requests = fd_pair()
        self.events, self.guest_events = fd_pair()
        self.ring.words[1] = self.ring.words[3] = 1  # as SHARED_RING_INIT leaves it
        self.backend = self._new_backend()
        self.backend.begin()
        self.guest = Guest(self.ring, self.event_page, self.guest_requests, self.guest_events)
        self.guest_engine = Engine()
        self.frontend: FrontendStream | None = None
        self.buffer: Memory | None = None
        self._fds = [self.requests.wait_fd, self.requests.notify_fd]
        self._fds += [self.events.wait_fd, self.events.notify_fd]

    def _new_backend(self) -> BackendStream:
        return BackendStream(
            self.engine,
            playback=self.playback,
            ring_address=self.ring.address,
            event_address=self.event_page.address,
            requests=self.requests,
            events=self.events,
            budget=self.budget,
        )

    def _backends_address(self, memory: Memory) -> int:
        """Where the backend has it."""
        return memory.address

    def connect_frontend(self, *, in_place: bool = False) -> FrontendStream:
        """The guest agent's own end, in place of the one by hand."""
        self.frontend = FrontendStream(
            self.guest_engine,
            playback=self.playback,
            in_place=in_place,
            ring_address=self.ring.address,
            event_address=self.event_page.address,
            requests=self.guest_requests,
            events=self.guest_events,
        )
        return self.frontend

    def open(self, pcm: PcmParameters) -> Memory:
        self.buffer = Memory(pcm.buffer_octets)
        self.backend.open_pcm(pcm, self._backends_address(self.buffer))
        if self.frontend:
            self.frontend.open_pcm(pcm, self.buffer.address)
        return self.buffer

    def next_request(self) -> bytes | None:
        return self.backend.next_request()

    def await_request(self) -> tuple[int, Request]:
        return decode_request(until(self.engine, self.next_request) or b"")

    def await_notice(self) -> None:
        """Until the backend has taken note of the last notification."""
        deadline = time.monotonic() + WAIT_SECONDS
        while is_readable(self.requests.wait_fd):
            assert time.monotonic() < deadline, "it takes no note"
        self.backend.stats()  # waits for the engine's lock, and so for what it is doing

    def answer(self, status: Status = Status.OK) -> None:
        packet = self.next_request()
        assert packet is not None
        request_id, operation = peek_request(packet)
        self.backend.answer(encode_response(Response(request_id, operation, status)))

    def close(self) -> None:
        if self.frontend:
            self.frontend.close()
        self.backend.close()

    def unmap(self) -> None:
        for memory in (self.ring, self.event_page, self.buffer):
            if memory and memory.mapping.octets:
                memory.unmap()

    def end(self) -> None:
        self.close()
        if self._own_engine:
            self._own_engine.close()
        self.guest_engine.close()
        self.unmap()
        for fd in self._fds:
            os.close(fd)


@contextlib.contextmanager
def setting(
    *, playback: bool, engine: Engine | None = None, budget: Budget | None = None
) -> Iterator[Setting]:
    made = Setting(playback=playback, engine=engine, budget=budget)
    try:
        yield made
    finally:
        made.end()
