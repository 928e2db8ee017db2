"""Peers that break the rules of the ring, the event page or their budget."""

from __future__ import annotations

import os
from dataclasses import replace

from tests.support.core_stream import (
    EINVAL,
    PAGE_OCTETS,
    Memory,
    Setting,
    config,
    is_readable,
    setting,
    until,
)
from xensnd.core import REFUSED_MAX, BackendStream, Violation
from xensnd.sndif.packets import Write


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
        wait_fd = os.dup(other.requests.wait_fd)
        backend = BackendStream(
            other.engine,
            playback=True,
            ring_address=ring.address,
            event_address=other.event_page.address,
            requests=replace(other.requests, wait_fd=wait_fd),
            events=other.events,
        )
        backend.begin()
        assert backend.violation is Violation.RING_INDEX
        backend.close()
        os.close(wait_fd)
        ring.unmap()


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
