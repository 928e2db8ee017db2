"""A guest with our own agent is paused, saved and restored: sound comes back by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.heard import gaps, missing_msec, seconds_heard, tone_lasts, tone_seconds
from tests.support.pulse_server import noise
from tests.xen.desktop import desktop, playing_tone, serving
from tests.xen.detached import Detached
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.interruptions import Interruption, pause, save_and_go_on, save_and_restore
from tests.xen.lab import Lab, XenGuest
from tests.xen.remote import Machine

POLICY = ALLOW_BOTH
SECOND = 4 * 48000


@pytest.fixture(scope="module")
def traveller(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("traveller") as guest:
        yield guest
        complaints = guest.do("dmesg")
        assert "BUG" not in complaints
        assert "WARNING" not in complaints


@pytest.fixture(params=[pause, save_and_go_on, save_and_restore], ids=lambda each: each.__name__)
def interrupt(
    request: pytest.FixtureRequest, dom0: Machine, traveller: XenGuest
) -> Callable[[], None]:
    interruption: Interruption = request.param
    return lambda: interruption(dom0, traveller)


def test_playing_goes_on(pulse: Pulse, traveller: XenGuest, interrupt: Callable[[], None]) -> None:
    played = noise(8)
    with (
        pulse.listening() as ears,
        Detached(traveller, "xensnd-guest", "play", "-", stdin=played) as playing,
    ):
        ears.listen_until(seconds_heard(1))
        interrupt()
        ended = playing.ended()
        assert ended.status == 0, ended.errors
        ears.listen_until(lambda heard: played[-64:] in heard)
        assert missing_msec(played, ears.heard) == []


def test_recording_goes_on(
    pulse: Pulse, traveller: XenGuest, interrupt: Callable[[], None]
) -> None:
    spoken = noise(60, seed=2)
    with (
        pulse.microphone(spoken),
        Detached(traveller, "xensnd-guest", "record", "--seconds=4", "-") as recording,
    ):
        recording.await_output(SECOND)
        interrupt()
        ended = recording.ended()
    assert ended.status == 0, ended.errors
    assert len(ended.octets) == 4 * SECOND
    # To save a guest keeps dom0 so busy that the microphone itself may have a pause, and a guest
    # that the emulation makes late for its buffer misses some. But nothing twice or out of order.
    assert all(each.missing >= 0 for each in gaps(ended.octets, spoken))


@pytest.fixture(scope="module")
def desk(traveller: XenGuest) -> Iterator[XenGuest]:
    with desktop(traveller) as desk:
        yield desk


def test_served_applications_play_on(
    pulse: Pulse, desk: XenGuest, interrupt: Callable[[], None]
) -> None:
    with serving(desk) as agent, pulse.listening() as ears, playing_tone(desk):
        assert tone_seconds(ears.listen_until(tone_lasts(1), 30)) > 1
        interrupt()
        before = len(ears.heard)
        heard = ears.listen_until(tone_lasts(2, after=before), 30)[before:]
        assert tone_seconds(heard) > 2, agent.errors


def test_served_guest_that_was_idle_is_heard_after_it(
    pulse: Pulse, desk: XenGuest, interrupt: Callable[[], None]
) -> None:
    with serving(desk) as agent, pulse.listening() as ears:
        interrupt()
        with playing_tone(desk):
            heard = ears.listen_until(tone_lasts(2), 30)
        assert tone_seconds(heard) > 2, agent.errors
