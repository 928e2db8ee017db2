"""Requests to the core: READ and WRITE are answered at once, and START and STOP of a stream that is
allowed. All others wait for Python.
"""

from __future__ import annotations

import pytest

from tests.support.core_stream import (
    EINVAL,
    OCTETS_A_MSEC,
    START,
    STOP,
    Setting,
    config,
    is_readable,
    until,
)
from xensnd.errors import LocalProtocolError
from xensnd.sndif.packets import (
    Operation,
    Read,
    Request,
    Response,
    Status,
    Write,
    decode_response,
    encode_request,
    encode_response,
    peek_request,
)


def test_control_requests_wait_for_python_one_at_a_time_and_in_order(playback: Setting) -> None:
    playback.guest.send(START, STOP, START)
    for request_id, request in enumerate((START, STOP, START)):
        assert playback.await_request() == (request_id, request)
        assert playback.await_request() == (request_id, request), "it waits until it is answered"
        assert playback.guest.answers() == []
        playback.answer()
        assert playback.guest.answers() == [Response(request_id, Operation.TRIGGER, Status.OK)]
    assert playback.next_request() is None


def test_start_and_stop_of_an_allowed_stream_are_answered_before_python_follows(
    playback: Setting,
) -> None:
    playback.open(config())
    playback.backend.open_gate()
    for request in (START, STOP):
        assert playback.guest.ask(request) == Status.OK
        assert playback.await_request()[1] == request
        playback.answer()
        assert playback.guest.answers() == []
    assert playback.next_request() is None


def test_start_of_a_stream_that_is_denied_again_waits_for_python(playback: Setting) -> None:
    playback.open(config())
    playback.backend.open_gate()
    playback.backend.close_gate()
    playback.guest.send(START)
    assert playback.await_request()[1] == START
    assert playback.guest.answers() == []
    assert playback.backend.stats().position_octets == 0


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


@pytest.mark.parametrize("in_place", [False, True])
def test_frontend_reads_without_a_request_what_is_in_its_place(
    capture: Setting, in_place: bool
) -> None:
    frontend = capture.connect_frontend(in_place=in_place)
    buffer = capture.open(config(silence_octet=0x80))
    buffer.octets[:] = b"\x55" * len(buffer.octets)
    capture.backend.start()
    frontend.set_running(True)
    wanted = 30 * OCTETS_A_MSEC
    frontend.await_fill(wanted)
    until(capture.guest_engine, lambda: frontend.stats().fill_octets >= wanted)
    assert frontend.read(wanted) == b"\x80" * wanted
    assert (capture.backend.stats().requests == 0) is in_place
