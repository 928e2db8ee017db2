"""A guest's vchans are served by a process of its own (`--isolation guest`): what they do is as
before, and when that process dies, another one goes on."""

from __future__ import annotations

import os
import signal

from tests.integration.sound.test_agent_engines import one_more_engine
from tests.integration.sound.test_vchan import (
    POLICY,
    RATE_HZ,
    NewGuest,
    habits,
    heard_as_played,
    new_vchan_guest,
    policy,
    pytestmark,
    test_agent_that_is_killed_is_not_heard_but_for_a_pause,
    test_corked_sink_is_silent_and_goes_on_where_it_was,
    test_guest_that_is_destroyed_leaves_nothing,
    test_guest_that_records_goes_on_when_the_agent_ends,
    test_microphone_arrives_octet_for_octet_while_the_guest_records,
    test_microphone_that_is_denied_while_it_records_is_silent_and_goes_on,
    test_one_vchan_that_is_closed_takes_the_other_with_it,
    test_playback_is_heard_octet_for_octet,
)
from tests.support.agents import QUEUED_MSEC, Dom0
from tests.support.heard import gaps_of_whole, without_silence
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import SECOND_OCTETS, Habits

__all__ = [
    "POLICY",
    "habits",
    "new_vchan_guest",
    "policy",
    "pytestmark",
    "test_agent_that_is_killed_is_not_heard_but_for_a_pause",
    "test_corked_sink_is_silent_and_goes_on_where_it_was",
    "test_guest_that_is_destroyed_leaves_nothing",
    "test_guest_that_records_goes_on_when_the_agent_ends",
    "test_microphone_arrives_octet_for_octet_while_the_guest_records",
    "test_microphone_that_is_denied_while_it_records_is_silent_and_goes_on",
    "test_one_vchan_that_is_closed_takes_the_other_with_it",
    "test_playback_is_heard_octet_for_octet",
]

OPTIONS = ("--vchan", "--isolation=guest")


def test_engine_that_is_killed_is_not_heard_but_for_a_pause(
    pulse: PulseServer,
    dom0: Dom0,
    new_vchan_guest: NewGuest,
    habits: Habits,
) -> None:
    played, agent = noise(3, rate_hz=RATE_HZ), dom0.agent_pid
    guest = new_vchan_guest("work", habits)
    with heard_as_played(pulse) as ears:
        guest.play(played)
        ears.listen_until(lambda heard: len(without_silence(heard)) > SECOND_OCTETS)
        with dom0.one_more("stream_taken_over", direction="playback", domid=guest.domid):
            os.kill(one_more_engine(dom0, set()), signal.SIGKILL)
        assert guest.is_bound()
        assert eventually(lambda: guest.unplayed == 0)
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 10)
    assert guest.connections == 1
    assert dom0.agent_pid == agent
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) == 1


def test_guest_that_records_goes_on_when_its_engine_is_killed(
    pulse: PulseServer,
    dom0: Dom0,
    new_vchan_guest: NewGuest,
) -> None:
    guest = new_vchan_guest("work")
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        assert eventually(lambda: without_silence(bytes(guest.recorded)))
        with dom0.one_more("stream_taken_over", direction="capture", domid=guest.domid):
            os.kill(one_more_engine(dom0, set()), signal.SIGKILL)
        after = len(guest.recorded)
        assert eventually(lambda: without_silence(bytes(guest.recorded[after:])))
        guest.stop_recording()
        dom0.await_event("stream_closed", guest="work", direction="capture", domid=guest.domid)
    assert guest.connections == 1
