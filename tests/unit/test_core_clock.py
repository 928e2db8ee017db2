"""The clock of a stream that has no audio server, and the positions that it reports."""

from __future__ import annotations

import time

import pytest

from tests.support.core_stream import OCTETS_A_MSEC, Setting, config, is_readable, until
from xensnd.sndif.packets import Status, Write


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
