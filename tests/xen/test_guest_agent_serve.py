"""`xensnd-guest serve` in a domU: the guest's own PulseAudio plays to dom0, and records from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.heard import RATE_HZ, tone, tone_lasts, tone_seconds
from tests.xen.desktop import ADDRESS, desktop, playing_tone, serving
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.lab import Lab, XenGuest

POLICY = ALLOW_BOTH


@pytest.fixture(scope="module")
def desk(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("desk") as guest, desktop(guest):
        yield guest


def test_what_applications_play_is_heard_in_dom0(pulse: Pulse, desk: XenGuest) -> None:
    with serving(desk) as agent, pulse.listening() as ears, playing_tone(desk):
        heard = ears.listen_until(tone_lasts(3), 30)
        assert tone_seconds(heard) > 3, agent.errors


def test_what_dom0_records_is_heard_by_applications(pulse: Pulse, desk: XenGuest) -> None:
    hear = ("parec", "--raw", f"--rate={RATE_HZ}", "--latency-msec=200")
    with (
        pulse.microphone(tone(60)),
        serving(desk) as agent,
        desk.start(*hear, env={"PULSE_SERVER": ADDRESS}) as application,
    ):
        heard = application.listen_until(tone_lasts(3), 40)
    assert tone_seconds(heard) > 3, agent.errors
