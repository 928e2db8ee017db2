"""Sound takes the time that it lasts, whatever the period: 2 s are played or recorded in 2.0 to
2.1 s, as the kernel's own test of its drivers (tools/testing/selftests/alsa) wants it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.lab import XenGuest
from tests.xen.remote import Machine
from tests.xen.traces import gives_all_back

pytestmark = pytest.mark.quiet

SECONDS = 2
TOLERANCE_SECONDS = 0.1

# Sound's first frame waits for what dom0 queues, and for dom0's sink, which here renders 50 ms at
# once; together that must be less than the tolerance.
SHORT = "--latency=40"

# Rate, channels, and the period and the buffer in frames.
SIZES = (
    (8000, 1, 8000, 32000),
    (8000, 2, 8000, 32000),
    (44100, 2, 22050, 44100),
    (48000, 2, 512, 4096),
    (48000, 2, 24000, 48000),
    (96000, 2, 32000, 64000),
)


@pytest.fixture(scope="module")
def agent(dom0: Machine, pulse: Pulse) -> Iterator[Agent]:
    with Agent(dom0, pulse, SHORT, policy=ALLOW_BOTH) as agent, gives_all_back(agent):
        yield agent


@pytest.mark.parametrize("direction", ["playback", "capture"])
@pytest.mark.parametrize(("rate_hz", "channels", "period", "buffer"), SIZES)
def test_two_seconds_take_two_seconds(
    guest: XenGuest, direction: str, rate_hz: int, channels: int, period: int, buffer: int
) -> None:
    numbers = map(str, (rate_hz, channels, period, buffer, SECONDS))
    command = ("python3", "-m", "tests.xen.timed_pcm", direction, *numbers)
    ended = guest.run(*command, env={"PYTHONPATH": "/opt/xensnd"})
    assert (ended.status, ended.errors) == (0, "")
    took = float(ended.output)
    print(f"took {took:.3f} s")
    assert SECONDS <= took <= SECONDS + TOLERANCE_SECONDS
