"""xensnd-guest in a domU, over gntalloc and without any kernel driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.guest import assert_recorded
from tests.xen.lab import Lab, XenGuest

POLICY = ALLOW_BOTH


@pytest.fixture(scope="module")
def bare(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("bare") as guest:
        assert "snd" not in guest.do("lsmod")
        yield guest


def test_five_seconds_are_heard_octet_for_octet(pulse: Pulse, bare: XenGuest) -> None:
    played = noise(5)
    with pulse.listening() as ears:
        ended = bare.run("xensnd-guest", "play", "-", stdin=played)
        assert (ended.status, ended.errors) == (0, "")
        assert ears.hears(played), difference(played, ears.heard)


def test_two_seconds_are_recorded_octet_for_octet(pulse: Pulse, bare: XenGuest) -> None:
    spoken = noise(12, seed=2)
    with pulse.microphone(spoken):
        ended = bare.run("xensnd-guest", "record", "--seconds=2", "-")
    assert_recorded(ended, spoken, 2)


def test_card_is_there_again_for_the_next_command(
    pulse: Pulse, agent: Agent, bare: XenGuest
) -> None:
    for seed in (3, 4):
        played = noise(0.5, seed=seed)
        with pulse.listening() as ears:
            assert bare.run("xensnd-guest", "play", "-", stdin=played).status == 0
            assert ears.hears(played), difference(played, ears.heard)
    assert agent.events("protocol_violation") == []
