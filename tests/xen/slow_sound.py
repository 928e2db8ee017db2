"""Sound at a rate at which the card's largest buffer lasts for 4.1 s.

ALSA gives up after 1.1 buffers without a period. Emulated, the next agent takes over after up to
3.5 s: a hundred times what it needs on a real processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.heard import FRAME_OCTETS, RATE_HZ, without_silence
from tests.xen.dom0 import QUEUED_MSEC, Pulse
from tests.xen.images import SOURCE
from tests.xen.remote import Process

SLOW_HZ = 16000
SLOW_SECOND = FRAME_OCTETS * SLOW_HZ
SLOW_STEREO = ("-f", "S16_LE", "-r", str(SLOW_HZ), "-c", "2")
# gaps_of_whole() counts milliseconds at 48 kHz.
SLOW_QUEUED_MSEC = QUEUED_MSEC * SLOW_HZ // RATE_HZ


@contextmanager
def hearing_slowly(pulse: Pulse) -> Iterator[Process]:
    """Hears, octet for octet, what guests play at this rate from now on."""
    with (
        pulse.sink("slow", rate_hz=SLOW_HZ) as monitor,
        pulse.prefers("slow", SOURCE),
        pulse.listening(monitor) as ears,
    ):
        yield ears


def slow_seconds_heard(seconds: float) -> Callable[[bytes], bool]:
    return lambda heard: len(without_silence(heard)) > seconds * SLOW_SECOND
