"""Each guest's rings are served by a process of its own (`--isolation guest`): what the opener has
bound and mapped is passed on twice, and is the guest's as before when agent or engine die."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.heard import gaps_of_whole, seconds_heard
from tests.support.pulse_server import noise
from tests.xen.dom0 import ALLOW_BOTH, QUEUED_MSEC, Agent, Pulse
from tests.xen.guest import (
    LONG_BUFFER,
    SECOND,
    STEREO,
    assert_recorded,
    start_aplay,
    start_recording,
)
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended, Machine
from tests.xen.traces import GNTDEV

POLICY = ALLOW_BOTH
OPTIONS = ("--isolation=guest",)
PLAYED = Ended(0)


@pytest.fixture(autouse=True)
def deaths_are_forgotten(agent: Agent) -> Iterator[None]:
    """A guest is not served for a while when what served it died twice: once more for a rerun."""
    yield
    agent.stop()
    agent.start()


def test_guest_plays_on_when_its_engine_and_then_the_agent_is_killed(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    played, worker = noise(6), agent.worker
    with pulse.listening() as ears, start_aplay(guest, played, *LONG_BUFFER) as playing:
        ears.listen_until(seconds_heard(1))
        (engine,) = agent.engines
        with agent.one_more("stream_taken_over"):
            dom0.do("kill", "-KILL", engine)
        assert agent.worker == worker
        ears.listen_until(seconds_heard(3))
        with agent.one_more("stream_taken_over"):
            dom0.do("kill", "-KILL", worker)
        assert playing.ended() == PLAYED
        heard = ears.listen_until(lambda heard: played[-64:] in heard)
    gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)
    (died,) = agent.events("died_serving")
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
