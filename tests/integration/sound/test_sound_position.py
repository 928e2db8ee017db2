"""What a guest is told of its position, against the time that has passed."""

from __future__ import annotations

import time

from tests.support.raw_frontend import BUFFER_OCTETS, RawStream
from xensnd.sndif.packets import Status, Trigger, TriggerRequest, Write

# The server has all of the buffer at once, and keeps the stream for a while before it begins.
OPTIONS = ("--latency=500",)
OPEN_BEFORE_SECONDS = 0.3
MSEC_OCTETS = 192
EARLY_OCTETS = 2 * MSEC_OCTETS


def test_no_position_is_told_before_its_time(stream: RawStream) -> None:
    """A load makes it late, never early."""
    assert stream.ask(stream.good_open()) == Status.OK
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK
    time.sleep(OPEN_BEFORE_SECONDS)
    started = time.monotonic()
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    position = 0
    while position < BUFFER_OCTETS - MSEC_OCTETS:
        position = stream.next_position()
        passed_octets = int((time.monotonic() - started) * 1000 * MSEC_OCTETS)
        assert position <= passed_octets + EARLY_OCTETS
