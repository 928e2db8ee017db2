"""Both ends of a stream in one process, over eventfds, without an audio server."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from xensnd.core import (
    REFUSED_MAX,
    BackendStream,
    Budget,
    Engine,
    FrontendStream,
    PcmParameters,
    Violation,
)
from xensnd.errors import LocalProtocolError
from xensnd.sndif.packets import (
    Operation,
    Read,
    Request,
    Response,
    Status,
    Trigger,
    TriggerRequest,
    Write,
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
        fd = create_pages(count)
        self.mapping = PageMapping([Page(fd, index) for index in range(count)], writable=True)
        os.close(fd)
        self.address = self.mapping.address
        array = (ctypes.c_char * self.mapping.octets).from_address(self.address)
        self.octets = memoryview(array).cast("B")
        self.words = self.octets.cast("I")

    def unmap(self) -> None:
        self.octets.release()
        self.words.release()
        self.mapping.close()


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
        self.backend = BackendStream(
            self.engine,
            playback=playback,
            ring_address=self.ring.address,
            event_address=self.event_page.address,
            requests=self.requests,
            events=self.events,
            budget=self.budget,
        )
        self.backend.begin()
        self.guest = Guest(self.ring, self.event_page, self.guest_requests, self.guest_events)
        self.guest_engine = Engine()
        self.frontend: FrontendStream | None = None
        self.buffer: Memory | None = None
        self._fds = [self.requests.wait_fd, self.requests.notify_fd]
        self._fds += [self.events.wait_fd, self.events.notify_fd]

    def connect_frontend(self) -> FrontendStream:
        """The guest agent's own end, in place of the one by hand."""
        self.frontend = FrontendStream(
            self.guest_engine,
            playback=self.playback,
            ring_address=self.ring.address,
            event_address=self.event_page.address,
            requests=self.guest_requests,
            events=self.guest_events,
        )
        return self.frontend

    def open(self, pcm: PcmParameters) -> Memory:
        self.buffer = Memory(pcm.buffer_octets)
        self.backend.open_pcm(pcm, self.buffer.address)
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


@pytest.fixture
def playback() -> Iterator[Setting]:
    with setting(playback=True) as made:
        yield made


@pytest.fixture
def capture() -> Iterator[Setting]:
    with setting(playback=False) as made:
        yield made


# Requests


def test_control_requests_wait_for_python_one_at_a_time_and_in_order(playback: Setting) -> None:
    playback.guest.send(START, STOP, START)
    for request_id, request in enumerate((START, STOP, START)):
        assert playback.await_request() == (request_id, request)
        assert playback.await_request() == (request_id, request), "it waits until it is answered"
        assert playback.guest.answers() == []
        playback.answer()
        assert playback.guest.answers() == [Response(request_id, Operation.TRIGGER, Status.OK)]
    assert playback.next_request() is None


def test_answer_says_what_python_decided(playback: Setting) -> None:
    playback.guest.send(START)
    playback.await_request()
    playback.answer(Status.EACCES)
    assert [each.status for each in playback.guest.await_answers(1)] == [Status.EACCES]


def test_answer_to_nothing_is_not_sent(playback: Setting) -> None:
    playback.backend.answer(encode_response(Response(0, Operation.CLOSE, Status.OK)))
    assert playback.guest.answers() == []


def test_write_is_answered_without_python(playback: Setting) -> None:
    playback.open(config())
    assert playback.guest.ask(Write(0, 400)) == Status.OK
    assert playback.backend.stats().buffered_octets == 400
    assert not is_readable(playback.engine.fileno())


def test_read_is_answered_without_python(capture: Setting) -> None:
    capture.open(config())
    assert capture.guest.ask(Read(0, 400)) == Status.OK
    assert not is_readable(capture.engine.fileno())


def test_full_buffer_of_writes_is_answered_before_start(playback: Setting) -> None:
    pcm = config()
    playback.open(pcm)
    part = pcm.buffer_octets // 30
    playback.guest.send(*(Write(offset, part) for offset in range(0, pcm.buffer_octets, part)))
    assert {each.status for each in playback.guest.await_answers(30)} == {Status.OK}
    assert playback.backend.stats().buffered_octets == pcm.buffer_octets


@pytest.mark.parametrize(
    "request_",
    [
        Write(96000, 4),
        Write(4, 96000),
        Write(96004, 0),
        Write(2**32 - 4, 4),
        Write(4, 2**32 - 4),
        Write(2**32 - 4, 2**32 - 4),
        Write(0, 3),
        Write(2, 4),
        Read(0, 4),
    ],
    ids=str,
)
def test_write_outside_the_buffer_is_refused_and_harmless(
    playback: Setting, request_: Request
) -> None:
    buffer = playback.open(config())
    before = bytes(buffer.octets)
    assert playback.guest.ask(request_) == EINVAL
    stats = playback.backend.stats()
    assert (stats.refused, stats.buffered_octets, bytes(buffer.octets)) == (1, 0, before)
    assert playback.guest.ask(Write(0, 400)) == Status.OK


def test_write_and_read_without_open_are_refused(playback: Setting, capture: Setting) -> None:
    assert playback.guest.ask(Write(0, 4)) == EINVAL
    assert capture.guest.ask(Read(0, 4)) == EINVAL
    playback.open(config())
    playback.backend.close_pcm()
    assert playback.guest.ask(Write(0, 4)) == EINVAL


def test_requests_behind_a_control_request_are_not_served_before_it_is_answered(
    playback: Setting,
) -> None:
    playback.open(config())
    playback.guest.send(Write(0, 400), STOP, Write(400, 400))
    assert playback.await_request() == (1, STOP)
    assert [each.request_id for each in playback.guest.await_answers(1)] == [0]
    playback.guest.notify()
    playback.await_notice()
    assert playback.guest.answers() == []
    assert playback.backend.stats().buffered_octets == 400
    playback.answer()
    assert [each.request_id for each in playback.guest.await_answers(2)] == [1, 2]
    assert playback.backend.stats().buffered_octets == 800


def test_unknown_operation_waits_for_python_like_any_control_request(playback: Setting) -> None:
    playback.guest.send(STOP, notify=False)
    playback.ring.octets[64 + 2] = 200
    playback.guest.notify()
    packet = until(playback.engine, playback.next_request)
    assert peek_request(packet or b"") == (0, 200)


def test_frontend_and_backend_agree_on_a_control_request(playback: Setting) -> None:
    frontend = playback.connect_frontend()
    for request_id in range(3):
        frontend.request(encode_request(0, START))
        with pytest.raises(LocalProtocolError, match="under way already"):
            frontend.request(encode_request(0, STOP))
        assert playback.await_request() == (request_id, START)
        playback.answer()
        response = until(playback.guest_engine, frontend.response)
        assert decode_response(response or b"").request_id == request_id
        assert frontend.response() is None


# The clock


def pace(octets: int, started: float) -> float:
    """Of real time, which is 1. Whoever is woken late finds the clock further."""
    return octets / OCTETS_A_MSEC / 1000 / (time.monotonic() - started)


def test_playback_without_audio_is_discarded_at_the_pace_of_a_real_one(playback: Setting) -> None:
    frontend = playback.connect_frontend()
    playback.open(config())
    end = 300 * OCTETS_A_MSEC
    assert frontend.write(bytes(500 * OCTETS_A_MSEC)) == 500 * OCTETS_A_MSEC
    playback.backend.start()
    frontend.set_running(True)
    started = time.monotonic()
    frontend.await_position(end)
    until(playback.guest_engine, lambda: frontend.stats().position_octets >= end)
    stats = playback.backend.stats()
    assert 0.8 <= pace(stats.position_octets, started) <= 1.2
    assert stats.octets == 0
    assert stats.discarded_octets >= end
    assert frontend.stats().refused == 0


def test_drained_playback_passes_its_end_by_a_period_at_most(playback: Setting) -> None:
    pcm = config(period_msec=20)
    playback.open(pcm)
    assert playback.guest.ask(Write(0, 30 * OCTETS_A_MSEC)) == Status.OK
    playback.backend.start()
    end = 30 * OCTETS_A_MSEC
    playback.guest.await_position(end + 1)
    playback.guest.await_position(end + pcm.period_octets)
    assert playback.guest.positions[-1] == end + pcm.period_octets
    assert not is_readable(playback.guest_events.wait_fd, 0.05)


@pytest.mark.parametrize("silence_octet", [0, 0x80])
def test_capture_without_audio_is_silence_on_a_clock(capture: Setting, silence_octet: int) -> None:
    frontend = capture.connect_frontend()
    buffer = capture.open(config(silence_octet=silence_octet))
    buffer.octets[:] = b"\x55" * len(buffer.octets)
    capture.backend.start()
    frontend.set_running(True)
    started = time.monotonic()
    captured = bytearray()
    while len(captured) < 300 * OCTETS_A_MSEC:
        frontend.await_fill(50 * OCTETS_A_MSEC)
        until(capture.guest_engine, lambda: frontend.stats().fill_octets >= 50 * OCTETS_A_MSEC)
        captured += frontend.read(50 * OCTETS_A_MSEC)
    assert 0.8 <= pace(capture.backend.stats().position_octets, started) <= 1.2
    assert set(captured) == {silence_octet}
    stats = capture.backend.stats()
    assert stats.octets == 0
    assert stats.discarded_octets == stats.position_octets >= 300 * OCTETS_A_MSEC


def test_position_events_come_more_often_than_once_a_period(playback: Setting) -> None:
    pcm = config(period_msec=40)
    playback.open(pcm)
    playback.guest.ask(Write(0, pcm.buffer_octets))
    playback.backend.start()
    playback.guest.await_position(8 * pcm.period_octets)
    assert len(playback.guest.positions) > 8


def test_no_period_is_no_position_event(playback: Setting) -> None:
    playback.open(config(period_msec=0))
    playback.guest.ask(Write(0, 20 * OCTETS_A_MSEC))
    playback.backend.start()
    assert not is_readable(playback.guest_events.wait_fd, 0.1)
    assert playback.backend.stats().position_octets == 20 * OCTETS_A_MSEC
    playback.backend.stop()
    assert not is_readable(playback.guest_events.wait_fd)


def test_stop_moves_the_position_to_the_next_lap_and_tells_it(playback: Setting) -> None:
    pcm = config()
    playback.open(pcm)
    playback.guest.ask(Write(0, pcm.buffer_octets))
    playback.backend.start()
    playback.guest.await_position(20 * OCTETS_A_MSEC)
    playback.backend.stop()
    playback.guest.await_position(pcm.buffer_octets)
    assert playback.guest.positions[-1] == pcm.buffer_octets
    assert playback.backend.stats().buffered_octets == 0


def test_paused_stream_goes_on_from_the_lap_that_it_was_moved_to(playback: Setting) -> None:
    pcm = config()
    playback.open(pcm)
    for lap in (1, 2):
        playback.guest.ask(Write(0, pcm.buffer_octets))
        playback.backend.start()
        playback.guest.await_position((lap - 1) * pcm.buffer_octets + 20 * OCTETS_A_MSEC)
        playback.backend.stop()
        playback.guest.await_position(lap * pcm.buffer_octets)


def test_idle_streams_wake_nobody(playback: Setting) -> None:
    playback.open(config())
    playback.guest.ask(Write(0, 400))
    playback.backend.start()
    playback.guest.await_position(400)
    playback.backend.stop()
    playback.guest.await_position(config().buffer_octets)
    before = playback.engine.wakeups
    time.sleep(0.2)
    assert playback.engine.wakeups - before <= 1


# The microphone's gate


class HeldChannel:
    """An event channel whose notification holds the engine, and its lock, until it is let go."""

    def __init__(self, fds: EventFds) -> None:
        self.wait_fd, self.notify_fd, self.context = fds.wait_fd, fds.notify_fd, 1
        self.is_held, self.let_go = threading.Event(), threading.Event()
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
        self._functions = function(self._clear), function(lambda _: 0)
        self.clear, self.notify = (
            int(ctypes.cast(each, ctypes.c_void_p).value or 0) for each in self._functions
        )

    def _clear(self, _: int) -> int:
        os.eventfd_read(self.wait_fd)
        self.is_held.set()
        self.let_go.wait(WAIT_SECONDS)
        return 0


def test_gate_is_closed_at_once_while_the_engine_is_busy(capture: Setting) -> None:
    ring = Memory(PAGE_OCTETS)
    fds, peer = fd_pair()
    channel = HeldChannel(fds)
    busy = BackendStream(
        capture.engine,
        playback=False,
        ring_address=ring.address,
        event_address=capture.event_page.address,
        requests=channel,
        events=capture.events,
    )
    busy.begin()
    os.eventfd_write(peer.notify_fd, 1)
    assert channel.is_held.wait(WAIT_SECONDS)
    asked = threading.Thread(target=busy.stats)  # waits for the engine
    asked.start()
    for stream in (busy, capture.backend):
        stream.open_gate(int(time.monotonic() * 1e6) + 1_000_000)
        stream.close_gate()
    assert asked.is_alive()
    channel.let_go.set()
    asked.join()
    busy.close()
    ring.unmap()
    for fd in (fds.wait_fd, fds.notify_fd):
        os.close(fd)


def test_gate_takes_any_deadline(capture: Setting) -> None:
    for until_usec in (None, -1, 0, 2**62, 2**70):
        capture.backend.open_gate(until_usec)


# Peers that break the rules


def test_ring_index_beyond_the_ring_is_noticed(playback: Setting) -> None:
    assert not playback.backend.violation
    playback.ring.words[0] = 33
    playback.guest.notify()
    violation = until(playback.engine, lambda: playback.backend.violation)
    assert violation is Violation.RING_INDEX
    assert playback.guest.answers() == []


def test_nothing_is_served_after_a_violation(playback: Setting) -> None:
    playback.ring.words[0] = 33
    playback.guest.notify()
    until(playback.engine, lambda: playback.backend.violation)
    playback.guest.send(Write(0, 4))
    assert not is_readable(playback.guest_requests.wait_fd, 0.05)
    assert playback.guest.answers() == []


def test_ring_that_was_hostile_before_it_was_connected_is_noticed() -> None:
    with setting(playback=True) as other:
        ring = Memory(PAGE_OCTETS)
        ring.words[0] = 2**31
        backend = BackendStream(
            other.engine,
            playback=True,
            ring_address=ring.address,
            event_address=other.event_page.address,
            requests=other.requests,
            events=other.events,
        )
        backend.begin()
        assert backend.violation is Violation.RING_INDEX
        backend.close()
        ring.unmap()


def ring_until_paused(stream: Setting, times: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while stream.budget.stats().pauses < times:
        assert time.monotonic() < deadline, "the guest is not paused"
        for _ in range(100):
            stream.guest.notify()


def test_guest_that_rings_without_end_is_paused_and_python_told(playback: Setting) -> None:
    before = playback.engine.wakeups
    ring_until_paused(playback, 3)
    assert until(playback.engine, lambda: playback.budget.stats().pauses) == 3
    stats = playback.budget.stats()
    assert stats.paused_usec == (10 + 20 + 40) * 1000
    assert stats.notifications <= playback.engine.wakeups - before
    assert stats.engine_usec == stats.notifications * 5
    assert playback.backend.violation is Violation.NONE


def test_streams_of_one_guest_wait_together(playback: Setting) -> None:
    with setting(playback=True, engine=playback.engine, budget=playback.budget) as other:
        ring_until_paused(playback, 7)  # the last of them for 640 ms
        other.guest.send(Write(0, 4))
        other.await_notice()
        assert other.guest.answers() == []
        assert other.guest.await_answers(1)[0].status == EINVAL


def test_refused_transfers_count_for_the_guest_and_are_a_violation(playback: Setting) -> None:
    for _ in range(REFUSED_MAX):
        assert playback.guest.ask(Write(0, 4)) == EINVAL
    assert until(playback.engine, lambda: playback.backend.violation) is Violation.REFUSED
    assert playback.budget.stats().refused == REFUSED_MAX


def test_frontend_notices_a_response_that_it_never_asked_for(playback: Setting) -> None:
    frontend = playback.connect_frontend()
    assert not frontend.is_broken
    playback.ring.words[2] = 1
    os.eventfd_write(playback.requests.notify_fd, 1)
    until(playback.guest_engine, lambda: frontend.is_broken)


def test_frontend_notices_more_events_than_the_page_holds(playback: Setting) -> None:
    frontend = playback.connect_frontend()
    playback.event_page.words[1] = 64
    os.eventfd_write(playback.events.notify_fd, 1)
    until(playback.guest_engine, lambda: frontend.is_broken)


def test_frontend_counts_writes_that_are_refused(playback: Setting) -> None:
    frontend = playback.connect_frontend()
    playback.open(config())
    playback.backend.close_pcm()
    assert frontend.write(bytes(400)) == 400
    until(playback.guest_engine, lambda: frontend.stats().refused == 1)


# The end


@pytest.mark.parametrize("is_playback", [True, False], ids=["playback", "capture"])
def test_nothing_touches_the_pages_after_close(is_playback: bool) -> None:
    pcm = config(period_msec=2)
    end = 20 * OCTETS_A_MSEC
    with setting(playback=is_playback) as closing:
        frontend = closing.connect_frontend()
        closing.open(pcm)
        if is_playback:
            frontend.write(bytes(pcm.buffer_octets))
        closing.backend.start()
        frontend.set_running(True)
        frontend.await_position(end)
        until(closing.guest_engine, lambda: frontend.stats().position_octets >= end)
        closing.close()
        closing.unmap()  # whoever touches them from now on ends this process
        for channel in (closing.requests, closing.events):
            os.eventfd_write(channel.wait_fd, 1)
            os.eventfd_write(channel.notify_fd, 1)
        for engine in (closing.engine, closing.guest_engine):
            with setting(playback=True, engine=engine) as other:
                play(other)


def play(stream: Setting) -> None:
    """So many ticks of its engine's thread."""
    pcm = config(period_msec=2)
    stream.open(pcm)
    stream.guest.ask(Write(0, pcm.buffer_octets))
    stream.backend.start()
    stream.guest.await_position(30 * OCTETS_A_MSEC)


def test_buffer_is_not_touched_after_close_pcm(capture: Setting) -> None:
    for _ in range(2):
        buffer = capture.open(config(period_msec=2))
        capture.backend.start()
        capture.guest.await_position(20 * OCTETS_A_MSEC)
        capture.backend.close_pcm()
        capture.guest.hear()
        capture.guest.positions.clear()
        buffer.unmap()


def test_no_event_comes_after_close_pcm_and_ids_run_on(playback: Setting) -> None:
    for _ in range(2):
        play(playback)
        playback.backend.close_pcm()
        playback.guest.hear()
        playback.guest.positions.clear()
        heard = playback.guest.heard
        assert not is_readable(playback.engine.fileno(), 0.03)
        assert playback.event_page.words[1] == heard
