"""Sound at a rate at which the card's largest buffer lasts for 4.1 s.

ALSA gives up after 1.1 buffers without a period. Emulated, the next agent takes over after up to
3.5 s: a hundred times what it needs on a real processor.
"""

from __future__ import annotations

from tests.support.heard import FRAME_OCTETS, RATE_HZ
from tests.xen.dom0 import QUEUED_MSEC

SLOW_HZ = 16000
SLOW_SECOND = FRAME_OCTETS * SLOW_HZ
SLOW_STEREO = ("-f", "S16_LE", "-r", str(SLOW_HZ), "-c", "2")
# gaps_of_whole() counts milliseconds at 48 kHz.
SLOW_QUEUED_MSEC = QUEUED_MSEC * SLOW_HZ // RATE_HZ
