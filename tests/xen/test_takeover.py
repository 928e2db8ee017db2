"""The agent dies under the stock driver: card and kernel do not notice, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.support.heard import FRAME_OCTETS, gaps, gaps_of_whole, seconds_heard, stretches
from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import ALLOW_BOTH, QUEUED_MSEC, Agent, Pulse
from tests.xen.guest import (
    LONG_BUFFER,
    SECOND,
    aplay,
    assert_recorded,
    cards,
    start_aplay,
    start_playing,
    start_recording,
)
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended, Machine
from tests.xen.slow_sound import (
    SLOW_HZ,
    SLOW_QUEUED_MSEC,
    SLOW_SECOND,
    SLOW_STEREO,
)

pytestmark = pytest.mark.usefixtures("deaths_are_forgotten")

POLICY = ALLOW_BOTH
PLAYED = Ended(0)


def kill_worker(dom0: Machine, agent: Agent) -> None:
    with agent.one_more("stream_taken_over"):
        dom0.do("kill", "-KILL", agent.worker)


def test_killed_agent_loses_no_frame_of_a_guest_that_plays(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    guest.do("dmesg", "-c")
    played, kills = noise(9, rate_hz=SLOW_HZ), []
    with (
        pulse.hearing_at(SLOW_HZ) as ears,
        start_playing(guest, played, SLOW_STEREO, *LONG_BUFFER) as playing,
    ):
        for seconds in (1, 4):
            kills.append(len(ears.listen_until(seconds_heard(seconds, SLOW_HZ))) // FRAME_OCTETS)
            kill_worker(dom0, agent)
        assert playing.ended() == PLAYED
        heard = ears.listen_until(lambda heard: played[-64:] in heard)
    outages = gaps_of_whole(heard, played, queued_msec=SLOW_QUEUED_MSEC)
    assert all(kill <= gap.at for kill, gap in zip(kills, outages, strict=True))
    assert guest.do("dmesg") == ""
    assert "vsnd" in cards(guest)


def test_killed_agent_leaves_the_card_of_an_idle_guest(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    with agent.one_more("agent_started"):
        dom0.do("kill", "-KILL", agent.worker)
    played = noise(1, seed=2)
    with pulse.listening() as ears:
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_killed_agent_lets_a_guest_record_on(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    spoken = noise(40, seed=3, rate_hz=SLOW_HZ)
    with pulse.microphone(spoken, rate_hz=SLOW_HZ):
        with start_recording(guest, SLOW_STEREO, "-d12", *LONG_BUFFER) as recording:
            before = recording.listen_until(seconds_heard(1, SLOW_HZ))
            kill_worker(dom0, agent)
            ended = recording.ended()
        with start_recording(guest, SLOW_STEREO, "-d1") as recording:
            assert_recorded(recording.ended(), spoken, 1, rate_hz=SLOW_HZ)
    assert (ended.status, ended.errors, len(ended.octets)) == (0, "", 12 * SLOW_SECOND)
    assert ended.octets[-1:] != b"\0"
    (outage,) = gaps(ended.octets, spoken)
    assert len(before) // FRAME_OCTETS <= outage.at
    # Time does not go faster than the microphone: silence stands for what was lost, never more.
    assert 0 <= outage.silent <= outage.missing


def test_agent_that_is_upgraded_takes_over_too(pulse: Pulse, agent: Agent, guest: XenGuest) -> None:
    """Stopped and started again: an interpreter starts in seconds here."""
    played = noise(12, seed=4)
    with pulse.listening() as ears, start_aplay(guest, played, *LONG_BUFFER) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 2 * SECOND)
        with agent.one_more("stream_taken_over"):
            assert agent.stop() == 0
            agent.start()
        ended = playing.ended()
        heard = ears.listen_until(lambda heard: heard.endswith(bytes(SECOND)))
    # Whether aplay outlives it depends on how long the start took; the card does in any case, and
    # up to there nothing is lost.
    assert ended.status in (0, 1)
    end = stretches(heard, played)[-1].end * FRAME_OCTETS
    assert end > 2 * SECOND
    assert ended.status == 1 or end == len(played)
    assert len(gaps_of_whole(heard, played[:end], queued_msec=QUEUED_MSEC)) <= 1
    played = noise(1, seed=5)
    with pulse.listening() as ears:
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
