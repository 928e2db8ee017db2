"""What is closed is no longer accessed."""

from __future__ import annotations

import os

import pytest

from tests.support.core_stream import OCTETS_A_MSEC, Setting, config, is_readable, setting, until
from xensnd.sndif.packets import Write


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
