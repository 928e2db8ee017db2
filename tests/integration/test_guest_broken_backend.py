"""A backend that breaks the protocol's rules: its connection ends with one clear line, and the next
one is tried.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent_guest.card import HANDSHAKE_TIMEOUT_SECONDS
from tests.support.agents import Guest, Running
from tests.support.applications import playing
from tests.support.heard import tone
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.raw_backend import RawBackend, RawBackendStream
from tests.support.raw_frontend import eventually
from xensnd.sndif.packets import (
    Close,
    HwParamQuery,
    Open,
    Operation,
    Response,
    Status,
    Trigger,
    TriggerRequest,
    encode_response,
    operation_of,
)
from xensnd.sndif.params import Interval
from xensnd.sndif.states import XenbusState


@pytest.fixture
def backend(work: Guest, machine: LocalMachine) -> RawBackend:
    backend = RawBackend(machine.transport(), machine.open_store(), work.domid)
    backend.make_device()
    return backend


@contextmanager
def playing_file(guest: Guest) -> Iterator[Running]:
    """`play -`, of an input that has no end yet."""
    with guest.start("play", "-") as running:
        running.give(bytes(4 * 4800))
        yield running
        assert "Traceback" not in running.errors


def answer_with_a_positive_status(stream: RawBackendStream) -> None:
    request_id, request = stream.await_request()
    stream.answer(encode_response(Response(request_id, operation_of(request), 5)))


def answer_with_another_operation(stream: RawBackendStream) -> None:
    request_id, _ = stream.await_request()
    stream.answer(encode_response(Response(request_id, Operation.CLOSE, Status.OK)))


def publish_an_answer_to_nothing(stream: RawBackendStream) -> None:
    stream.set_response_index(7)


def publish_more_events_than_fit(stream: RawBackendStream) -> None:
    stream.set_event_index(64)


@pytest.mark.parametrize(
    ("break_a_rule", "line"),
    [
        (publish_an_answer_to_nothing, "stream 0/0: dom0 broke the rules of its rings"),
        (publish_more_events_than_fit, "stream 0/0: dom0 broke the rules of its rings"),
        (answer_with_a_positive_status, "stream 0/0: dom0 sent a wrong answer: response status 5"),
        (answer_with_another_operation, "dom0 answered HW_PARAM_QUERY with operation 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_playing_goes_on_after_a_broken_backend(
    work: Guest,
    backend: RawBackend,
    break_a_rule: Callable[[RawBackendStream], None],
    line: str,
) -> None:
    with playing_file(work) as running:
        break_a_rule(backend.connect())
        backend.await_frontend(XenbusState.CLOSING)
        backend.let_go()
        stream = backend.finish_connecting()
        assert isinstance(stream.accept(), HwParamQuery)
        assert isinstance(stream.accept(), Open)
        assert running.errors.count(line) == 1
        assert running.errors.count("\n") == 1, running.errors


def test_a_backend_that_allows_what_was_not_offered_is_refused(
    work: Guest, backend: RawBackend
) -> None:
    with playing_file(work) as running:
        stream = backend.connect()
        request_id, query = stream.await_request()
        assert isinstance(query, HwParamQuery)
        params = replace(query.params, buffer_frames=Interval(2**31, 2**32 - 1))
        stream.answer(
            encode_response(Response(request_id, Operation.HW_PARAM_QUERY, Status.OK, params))
        )
        backend.await_frontend(XenbusState.CLOSING)
        backend.let_go()
        ended = running.ended()
    assert ended.status == 1
    assert "dom0 answers HW_PARAM_QUERY with what was not offered" in ended.errors
    assert ended.errors.count("\n") == 1


def test_a_card_that_is_taken_away_while_it_connects_is_one_line(
    work: Guest, backend: RawBackend
) -> None:
    with playing_file(work) as running:
        backend.offer()
        backend.await_frontend(XenbusState.INITIALISED)
        backend.remove_device()
        backend.make_device()
        stream = backend.connect()
        assert isinstance(stream.accept(), HwParamQuery)
        assert running.errors.count("\n") <= 1, running.errors


def test_a_card_that_is_made_anew_before_the_guest_looks_is_connected_at_once(
    work: Guest, backend: RawBackend
) -> None:
    """The backend is then in the state in which the guest saw the one before."""
    with playing_file(work) as running:
        backend.offer()
        backend.await_frontend(XenbusState.INITIALISED)
        running.process.send_signal(signal.SIGSTOP)
        backend.remove_device()
        backend.make_device()
        backend.offer()
        running.process.send_signal(signal.SIGCONT)
        is_published = eventually(
            lambda: backend.frontend_state() is XenbusState.INITIALISED,
            HANDSHAKE_TIMEOUT_SECONDS / 2,
        )
        assert is_published
        assert isinstance(backend.finish_connecting().accept(), HwParamQuery)
        assert running.errors.count("this guest's sound card was taken away") == 1
        assert running.errors.count("\n") == 1, running.errors


def test_a_backend_that_has_connected_with_a_frontend_before_this_one_offers_again(
    work: Guest, backend: RawBackend
) -> None:
    """That frontend had gone back to Initialising by then."""
    backend.enter(XenbusState.CONNECTED)
    with playing_file(work) as running:
        backend.await_frontend(XenbusState.CLOSING)
        stream = backend.connect()
        assert isinstance(stream.accept(), HwParamQuery)
        assert not running.errors


@pytest.fixture
def guest_pulse(tmp_path: Path) -> Iterator[PulseServer]:
    with PulseServer(tmp_path / "guest") as server:
        yield server


def open_and_start(stream: RawBackendStream) -> None:
    """Until the stream runs."""
    assert isinstance(stream.accept(), HwParamQuery)
    assert isinstance(stream.accept(), Open)
    assert isinstance(stream.accept(), TriggerRequest)


@pytest.fixture
def waiting(work: Guest, backend: RawBackend, guest_pulse: PulseServer) -> Iterator[Running]:
    """`serve`, with an application that plays, and with a request START that has no answer."""
    with (
        work.start("serve", f"--server={guest_pulse.address}") as agent,
        playing(guest_pulse, tone(30)),
    ):
        stream = backend.connect()
        assert isinstance(stream.accept(), HwParamQuery)
        assert isinstance(stream.accept(), Open)
        yield agent
        assert "Traceback" not in agent.errors


def test_serving_that_ends_while_it_waits_for_an_answer_closes_the_stream_after_it(
    waiting: Running, backend: RawBackend
) -> None:
    stream = backend.streams[0]
    request_id, start = stream.await_request()
    waiting.process.terminate()
    assert not eventually(lambda: stream.has_request, 0.5)
    stream.answer(encode_response(Response(request_id, operation_of(start), Status.OK)))
    stop, close = stream.accept(), stream.accept()
    assert isinstance(stop, TriggerRequest)
    assert stop.trigger is Trigger.STOP
    assert isinstance(close, Close)
    backend.await_frontend(XenbusState.CLOSING)
    backend.let_go()
    assert waiting.ended().status == 0


def test_serving_tries_again_when_an_answer_does_not_come(
    waiting: Running, backend: RawBackend
) -> None:
    backend.streams[0].await_request()
    backend.await_frontend(XenbusState.CLOSING)
    backend.let_go()
    open_and_start(backend.finish_connecting())
    assert waiting.errors.count("dom0 does not answer TRIGGER; trying again until it is back") == 1
    waiting.process.terminate()
    backend.await_frontend(XenbusState.CLOSING)
    backend.let_go()
    assert waiting.ended().status == 0


@pytest.fixture
def serving(work: Guest, backend: RawBackend, guest_pulse: PulseServer) -> Iterator[Running]:
    """`serve`, connected, with an application that plays."""
    with (
        work.start("serve", f"--server={guest_pulse.address}") as agent,
        playing(guest_pulse, tone(30)),
    ):
        backend.connect()
        yield agent
        agent.process.terminate()
        backend.await_frontend(XenbusState.CLOSING)
        backend.let_go()
        assert agent.ended().status == 0
        assert "Traceback" not in agent.errors


def test_serving_goes_on_after_a_broken_backend(serving: Running, backend: RawBackend) -> None:
    open_and_start(backend.streams[0])
    backend.streams[0].set_event_index(64)
    backend.await_frontend(XenbusState.CLOSING)
    line = "stream 0/0: dom0 broke the rules of its rings; trying again until it is back"
    assert serving.errors.count(line) == 1
    backend.let_go()
    open_and_start(backend.finish_connecting())
    assert "the sound card is back" in serving.errors
    assert serving.errors.count(line) == 1


@pytest.mark.usefixtures("serving")
def test_serving_follows_a_backend_that_negotiates_anew(backend: RawBackend) -> None:
    open_and_start(backend.streams[0])
    backend.let_go()
    open_and_start(backend.finish_connecting())
