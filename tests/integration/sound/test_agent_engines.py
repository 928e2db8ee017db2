"""Each guest's rings are served by a process of its own: what it does is as before, and its end is
that guest's alone."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from agent_dom0.engines.calls import REPLY_SECONDS_MAX
from tests.integration.sound.test_agent_takeover import (
    POLICY,
    test_a_killed_agent_leaves_a_recording_guest_its_microphone,
    test_a_killed_agent_loses_no_frame_of_a_guest_that_plays,
    test_an_agent_that_is_renewed_while_a_guest_plays_loses_no_frame,
    test_an_agent_that_is_stopped_and_started_again_takes_over_too,
)
from tests.support.agents import (
    QUEUED_MSEC,
    SECOND_OCTETS,
    Dom0,
    Ended,
    Guest,
    neighbour_of,
)
from tests.support.heard import RATE_HZ, find_gaps, seconds_heard
from tests.support.pulse_server import PulseServer, difference, left_of, noise, on_left
from tests.support.raw_frontend import eventually
from tests.support.urgency import children

__all__ = [
    "POLICY",
    "test_a_killed_agent_leaves_a_recording_guest_its_microphone",
    "test_a_killed_agent_loses_no_frame_of_a_guest_that_plays",
    "test_an_agent_that_is_renewed_while_a_guest_plays_loses_no_frame",
    "test_an_agent_that_is_stopped_and_started_again_takes_over_too",
]

OPTIONS = ("--isolation=guest",)
NAME = "xensnd-engine"
ANSWER_MSEC = 20  # of the control socket, whatever a guest does


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


def engines(dom0: Dom0) -> set[int]:
    return {
        pid
        for pid in descendants(dom0.agent_pid)
        if f"({NAME}) Z" not in (stat := Path(f"/proc/{pid}/stat").read_text())
        and f"({NAME})" in stat
    }


def one_more_engine(dom0: Dom0, before: set[int]) -> int:
    """That of the guest that has connected since then."""
    (engine,) = eventually(lambda: engines(dom0) - before)
    return int(engine)


def test_an_engine_that_is_killed_loses_no_frame_and_only_its_guest_notices(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    agent, played = dom0.agent_pid, noise(4, frame_octets=2)
    with neighbour_of(pulse, other) as neighbour:
        before = engines(dom0)
        with work.start("play", "-", stdin=[on_left(played)]) as playing:
            neighbour.ears.listen_until(lambda heard: len(left_of(heard).strip(b"\0")) > 96000)
            os.kill(one_more_engine(dom0, before), signal.SIGKILL)
            dom0.await_event("stream_taken_over", domid=work.domid)
            neighbour.assert_undisturbed()
            assert playing.ended().status == 0
        heard = neighbour.ears.listen_until(lambda heard: played[-64:] in left_of(heard), 5)
    outages = find_gaps(left_of(heard), played, frame_octets=2)
    assert len(outages) == 1
    assert -QUEUED_MSEC * RATE_HZ // 1000 <= outages[0].missing <= 0
    died = dom0.await_event("died_serving", domid=work.domid)
    assert "its engine" in died["MESSAGE"]
    assert dom0.agent_pid == agent
    assert not dom0.events("died_serving", domid=other.domid)


def test_an_engine_that_hangs_is_ended_and_only_its_guest_notices(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    agent = dom0.agent_pid
    with neighbour_of(pulse, other) as neighbour:
        before = engines(dom0)
        with work.start("play", "-", stdin=[on_left(noise(8, frame_octets=2))]):
            dom0.await_event("stream_started", domid=work.domid)
            engine = one_more_engine(dom0, before)
            os.kill(engine, signal.SIGSTOP)
            died = dom0.await_event("died_serving", domid=work.domid)
            assert "does not respond" in died["MESSAGE"]
            dom0.await_event("stream_taken_over", domid=work.domid)
            assert engine not in engines(dom0)
            neighbour.assert_undisturbed()
    assert dom0.agent_pid == agent


def test_engine_that_hangs_holds_up_nobody(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    """Who asks for the status is told what its streams were like before, and another guest
    connects, opens a stream and closes it."""
    other = new_guest("other")
    played, answers_ms = noise(0.3), []
    with work.start("play", "-", stdin=[on_left(noise(8, frame_octets=2))]):
        dom0.await_event("stream_started", domid=work.domid)
        os.kill(one_more_engine(dom0, set()), signal.SIGSTOP)
        with pulse.listening() as ears, other.start("play", "-", stdin=[played]) as playing:
            while not dom0.events("stream_closed", domid=other.domid):
                asked = time.monotonic()
                assert dom0.shown("work")["plays"]
                answers_ms.append((time.monotonic() - asked) * 1000)
            assert not dom0.events("died_serving", domid=work.domid)
            assert playing.ended() == Ended(0)
            assert ears.hears(played), difference(played, ears.heard)
        dom0.await_event("died_serving", domid=work.domid)
    print(f"{len(answers_ms)} answers, worst after {max(answers_ms):.1f} ms")
    assert statistics.median(answers_ms) < ANSWER_MSEC
    assert max(answers_ms) < 1000 * REPLY_SECONDS_MAX / 2


def test_engine_that_was_late_is_replaced_and_not_blamed(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    """It missed an order: to play nothing more of this guest."""
    played = noise(10)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]):
        ears.listen_until(seconds_heard(1))
        engine = one_more_engine(dom0, set())
        os.kill(engine, signal.SIGSTOP)
        with dom0.one_more("decision", domid=work.domid, decision="deny"):
            dom0.write_policy(POLICY.replace("playback: allow", "playback: deny"))
        assert dom0.shown("work")  # by now, the order was given
        os.kill(engine, signal.SIGCONT)
        dom0.await_event("engine_replaced", domid=work.domid)
        dom0.await_event("stream_taken_over", domid=work.domid)
        heard = len(ears.heard)
        ears.listen_until(lambda now: len(now) > heard + 2 * SECOND_OCTETS)
        assert not ears.heard[-SECOND_OCTETS:].strip(b"\0")
        with dom0.one_more("decision", domid=work.domid, decision="allow"):
            dom0.write_policy(POLICY)
        ears.listen_until(lambda now: now[-4:].strip(b"\0"))
    assert engine not in engines(dom0)
    assert not dom0.events("died_serving", domid=work.domid)


def test_guest_whose_engine_dies_twice_is_left_alone(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    agent = dom0.agent_pid
    with neighbour_of(pulse, other) as neighbour:
        before = engines(dom0)
        with work.start("play", "-", stdin=[on_left(noise(10, frame_octets=2))]):
            dom0.await_event("stream_started", domid=work.domid)
            for deaths in (1, 2):
                os.kill(one_more_engine(dom0, before), signal.SIGKILL)
                dom0.await_event("died_serving", domid=work.domid, count=deaths)
                if deaths == 1:
                    dom0.await_event("stream_taken_over", domid=work.domid)
            dom0.await_event("guest_quarantined", domid=work.domid)
            assert dom0.shown("work")["quarantine_seconds"] > 0
            assert engines(dom0) == before
            neighbour.assert_undisturbed()
    assert dom0.agent_pid == agent


def test_microphone_is_denied_at_once_though_the_engine_hangs(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    """The agent waits for nothing: as soon as the engine goes on, it finds its gate closed."""
    with (
        pulse.microphone(noise(20)),
        work.start("record", "-", "--seconds=8") as recording,
    ):
        recording.listen_until(seconds_heard(1))
        engine = one_more_engine(dom0, set())
        os.kill(engine, signal.SIGSTOP)
        began = time.monotonic()
        with dom0.one_more("decision", domid=work.domid, decision="deny"):
            dom0.write_policy(POLICY.replace("capture: allow", "capture: deny"))
        print(f"decided {(time.monotonic() - began) * 1000:.0f} ms after the policy was written")
        os.kill(engine, signal.SIGCONT)
        heard = len(recording.heard)
        recording.listen_until(lambda now: len(now) > heard + 96000)
        assert not recording.heard[-48000:].strip(b"\0")
    dom0.use(POLICY)
