"""Each guest's rings are served by a process of its own (`--isolation guest`): what the opener has
bound and mapped is passed on twice, and is the guest's as before when agent or engine die."""

from __future__ import annotations

import pytest

from tests.support.heard import gaps_of_whole, seconds_heard
from tests.support.pulse_server import noise
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.guest import (
    LONG_BUFFER,
    SECOND,
    STEREO,
    assert_recorded,
    start_playing,
    start_recording,
)
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended, Machine
from tests.xen.slow_sound import (
    SLOW_HZ,
    SLOW_QUEUED_MSEC,
    SLOW_STEREO,
)
from tests.xen.traces import GNTDEV

pytestmark = pytest.mark.usefixtures("deaths_are_forgotten")

POLICY = ALLOW_BOTH
OPTIONS = ("--isolation=guest",)
PLAYED = Ended(0)


def test_guest_plays_on_when_its_engine_and_then_the_agent_is_killed(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    played, worker = noise(9, rate_hz=SLOW_HZ), agent.worker
    deaths = len(agent.events("died_serving"))  # of an earlier run of this case
    with (
        pulse.hearing_at(SLOW_HZ) as ears,
        start_playing(guest, played, SLOW_STEREO, *LONG_BUFFER) as playing,
    ):
        ears.listen_until(seconds_heard(1, SLOW_HZ))
        (engine,) = agent.engines
        with agent.one_more("stream_taken_over"):
            dom0.do("kill", "-KILL", engine)
        assert agent.worker == worker
        ears.listen_until(seconds_heard(4, SLOW_HZ))
        with agent.one_more("stream_taken_over"):
            dom0.do("kill", "-KILL", worker)
        assert playing.ended() == PLAYED
        heard = ears.listen_until(lambda heard: played[-64:] in heard)
    gaps_of_whole(heard, played, queued_msec=SLOW_QUEUED_MSEC)
    (died,) = agent.events("died_serving")[deaths:]
    assert "its engine" in died["MESSAGE"]


def test_guest_records_and_its_engine_alone_has_its_pages(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    spoken = noise(20, seed=3)
    with pulse.microphone(spoken), start_recording(guest, STEREO, "-d2") as recording:
        recording.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
        (engine,) = agent.engines
        for pid, mapped in ((engine, True), (agent.worker, False)):
            assert (GNTDEV in dom0.do("cat", f"/proc/{pid}/maps")) is mapped
        assert_recorded(recording.ended(), spoken, 2)
    print("engines that were late:", len(agent.events("engine_replaced")))
