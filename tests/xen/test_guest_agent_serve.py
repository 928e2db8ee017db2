"""`xensnd-guest serve` in a domU: what the guest's own PulseAudio plays is heard in dom0."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.heard import tone_seconds
from tests.xen.desktop import desktop, playing_tone, serving
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.lab import Lab, XenGuest

POLICY = ALLOW_BOTH


@pytest.fixture(scope="module")
def desk(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("desk") as guest, desktop(guest):
        yield guest


def test_what_applications_play_is_heard_in_dom0(pulse: Pulse, desk: XenGuest) -> None:
    with serving(desk) as agent, pulse.listening() as ears, playing_tone(desk):
        heard = ears.listen_until(lambda heard: tone_seconds(heard) > 3, 30)
        assert tone_seconds(heard) > 3, agent.errors
