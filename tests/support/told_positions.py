"""When a guest is told its position, beside the time that has passed."""

from __future__ import annotations

import time

from tests.support.raw_frontend import BUFFER_OCTETS, RawStream
from xensnd.sndif.packets import Status, Trigger, TriggerRequest, Write

MSEC_OCTETS = 192
EARLY_OCTETS = 2 * MSEC_OCTETS


def assert_none_is_early(stream: RawStream, *, open_before_seconds: float = 0) -> None:
    """Plays a whole buffer. A load makes positions late, never early."""
    assert stream.ask(stream.good_open()) == Status.OK
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK
    time.sleep(open_before_seconds)
    started = time.monotonic()
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    position = 0
    while position < BUFFER_OCTETS - MSEC_OCTETS:
        position = stream.next_position()
        passed_octets = int((time.monotonic() - started) * 1000 * MSEC_OCTETS)
        assert position <= passed_octets + EARLY_OCTETS
