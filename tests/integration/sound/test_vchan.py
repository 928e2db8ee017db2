"""A Qubes guest's own sound over vchan, with nothing of ours in the guest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from agent_dom0.supervisor.supervise import RENEW
from tests.support.agents import QUEUED_MSEC, Dom0
from tests.support.heard import gaps_of_whole, without_silence
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import Ears, PulseServer, difference, noise, sink_input
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import PIPEWIRE, PULSEAUDIO, SECOND_OCTETS, Habits, VchanGuest
from tests.support.vchan_server import SRV_LIVE
from xensnd.control.client import NoAgentError
from xensnd.errors import UsageError

OPTIONS = ("--vchan",)
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
DENY = 'version: 1\nrules:\n  - guest: "*"\n    playback: deny\n    capture: deny\n'
RATE_HZ = 44100
# The most that a guest may find unread; where its ring is larger, that is more than a fragment.
UNREAD_OCTETS_MAX = {PULSEAUDIO: 8192, PIPEWIRE: 8192 + 3072}
SUSPENDED_SECONDS = 1.0
BACK_SECONDS_MAX = 1.0  # after which a guest plays and records again by itself
pytestmark = pytest.mark.usefixtures("dom0")


@pytest.fixture(params=[PULSEAUDIO, PIPEWIRE], ids=["PulseAudio", "PipeWire"])
def habits(request: pytest.FixtureRequest) -> Habits:
    assert isinstance(request.param, Habits)
    return request.param


@pytest.fixture(autouse=True)
def policy(dom0: Dom0) -> Iterator[None]:
    """The module's own, whatever a test makes of it."""
    yield
    if dom0.policy_file.read_text() != POLICY:
        dom0.use(POLICY)


NewGuest = Callable[..., VchanGuest]


@pytest.fixture
def new_vchan_guest(machine: LocalMachine, dom0: Dom0) -> Iterator[NewGuest]:
    """`new_vchan_guest("work", habits)`: connected, and there until the test ends."""
    with ExitStack() as stack:

        def create(name: str, habits: Habits = PULSEAUDIO) -> VchanGuest:
            guest = VchanGuest(machine, name, habits)
            stack.callback(destroy, machine, name)
            stack.enter_context(guest)
            assert eventually(lambda: guest.is_connected), dom0.end_of_log
            return guest

        yield create


def destroy(machine: LocalMachine, name: str) -> None:
    with suppress(UsageError):  # a test has done it
        machine.destroy(name)


@contextmanager
def heard_as_played(pulse: PulseServer) -> Iterator[Ears]:
    """Of a sink that changes nothing of what a Qubes guest plays."""
    with (
        pulse.default_sink("same", rate_hz=RATE_HZ) as sink,
        pulse.listening(f"--rate={RATE_HZ}", device=f"{sink}.monitor") as ears,
    ):
        yield ears


def has_connected(guest: VchanGuest, times: int) -> bool:
    return guest.connections == times


def streams(dom0: Dom0, guest: VchanGuest) -> dict[str, Any]:
    """The guest's streams over vchan, as `status` shows them, by their direction."""
    return {
        stream["direction"]: stream
        for device in dom0.shown(guest.name)["devices"]
        if device["devid"] == "vchan"
        for stream in device["streams"]
    }


def playback_state(dom0: Dom0, guest: VchanGuest) -> str | None:
    """None: the next agent does not answer yet."""
    with suppress(NoAgentError):
        return str(streams(dom0, guest)["playback"]["state"])
    return None


def test_playback_is_heard_octet_for_octet(
    pulse: PulseServer, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    played = noise(3, rate_hz=RATE_HZ)
    guest = new_vchan_guest("work", habits)
    with heard_as_played(pulse) as ears:
        guest.play(played)
        assert ears.hears(played, 10), difference(played, ears.heard)


def test_microphone_arrives_octet_for_octet_while_the_guest_records(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    spoken = noise(6, rate_hz=RATE_HZ)
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(spoken, rate_hz=RATE_HZ):
        assert "capture" not in streams(dom0, guest)
        guest.start_recording()
        assert eventually(lambda: len(guest.recorded) > 2 * SECOND_OCTETS)
        assert streams(dom0, guest)["capture"]["is_heard"]
        guest.stop_recording()
        dom0.await_event("stream_closed", guest="work", direction="capture", domid=guest.domid)
        recorded = bytes(guest.recorded).strip(b"\0")
    assert len(recorded) > SECOND_OCTETS
    assert recorded in spoken, difference(recorded, spoken)


def test_guest_that_does_not_read_its_microphone_hears_it_no_later_for_that(
    pulse: PulseServer, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(noise(6, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        assert eventually(lambda: without_silence(bytes(guest.recorded)))
        guest.reads = False
        _, capture = guest.servers
        assert eventually(lambda: capture.readable() == UNREAD_OCTETS_MAX[habits])
        time.sleep(1)
        assert capture.readable() == UNREAD_OCTETS_MAX[habits]
        guest.ages.clear()
        guest.reads = True
        assert eventually(lambda: len(guest.ages) > 50)
    assert max(guest.ages) <= UNREAD_OCTETS_MAX[habits] / SECOND_OCTETS


def test_denied_microphone_ticks_in_silence_until_it_is_allowed(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    dom0.use(DENY)
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        assert eventually(lambda: guest.recorded)
        began, before = time.monotonic(), len(guest.recorded)
        assert eventually(lambda: len(guest.recorded) > before + 2 * SECOND_OCTETS)
        assert 1.5 < time.monotonic() - began < 3
        assert not without_silence(bytes(guest.recorded))
        assert streams(dom0, guest)["capture"]["decision"] == "deny"
        dom0.use(POLICY)
        assert eventually(lambda: without_silence(bytes(guest.recorded[-SECOND_OCTETS:])))


def test_microphone_that_is_denied_while_it_records_is_silent_and_goes_on(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        assert eventually(lambda: without_silence(bytes(guest.recorded))), dom0.end_of_log
        dom0.write_policy(DENY)
        dom0.await_event("decision", guest="work", direction="capture", decision="deny")
        time.sleep(0.1)  # what was in the guest's ring by then
        after = len(guest.recorded)
        assert eventually(lambda: len(guest.recorded) > after + SECOND_OCTETS)
        assert not without_silence(bytes(guest.recorded[after:]))


def test_denied_playback_is_taken_at_its_rate_and_not_heard(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    dom0.use(DENY)
    guest = new_vchan_guest("work")
    with pulse.listening() as ears:
        began = time.monotonic()
        guest.play(noise(2, rate_hz=RATE_HZ))
        assert eventually(lambda: guest.unplayed == 0)
        assert 1.5 < time.monotonic() - began < 3
        assert not ears.heard.strip(b"\0")


def test_corked_sink_is_silent_and_goes_on_where_it_was(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    played = noise(3, rate_hz=RATE_HZ)
    guest = new_vchan_guest("work", habits)
    with heard_as_played(pulse) as ears:
        guest.play(played)
        ears.listen_until(lambda heard: len(without_silence(heard)) > SECOND_OCTETS)
        guest.cork()
        dom0.await_event("stream_stopped", guest="work", direction="playback", domid=guest.domid)
        assert streams(dom0, guest)["playback"]["state"] == "paused"
        quiet = 44100 * 4 // 2
        ears.listen_until(lambda heard: not heard[-quiet:].strip(b"\0"))
        assert len(without_silence(ears.heard)) < len(played)
        guest.uncork()
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 10)
    assert without_silence(heard) == played


def test_volume_and_mute_are_those_that_a_person_sets(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    guest.play(noise(3, rate_hz=RATE_HZ))
    with sink_input(pulse, "work") as now:
        assert now().proplist["xensnd.guest"] == "work"
        dom0.ask("volume", guest="work", percent=50)
        dom0.ask("mute", guest="work")
        assert eventually(lambda: now().mute and round(now().volume.value_flat * 100) == 50)
        assert eventually(lambda: streams(dom0, guest)["playback"]["is_muted"])


def test_connection_and_its_streams_are_in_the_audit_trail(
    dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    dom0.await_event("stream_started", guest="work", domid=guest.domid)
    guest.start_recording()
    dom0.await_event("stream_started", guest="work", domid=guest.domid, direction="capture")
    guest.stop_recording()
    dom0.await_event("stream_closed", guest="work", domid=guest.domid, direction="capture")
    trail = [
        (event["EVENT"], event.get("XENSND_DIRECTION"))
        for event in dom0.events(guest="work", domid=guest.domid)
        # The card that it does not use, and what its microphone is in dom0.
        if event["EVENT"] not in {"device_made", "source_admitted"}
    ]
    assert trail == [
        ("device_connected", None),
        ("stream_opened", "playback"),
        ("decision", "playback"),
        ("stream_started", "playback"),
        ("stream_opened", "capture"),
        ("decision", "capture"),
        ("stream_started", "capture"),
        ("stream_closed", "capture"),
    ]


# What comes and goes


def test_sound_server_of_the_guest_that_starts_anew_is_connected_again_at_once(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    guest = new_vchan_guest("work", habits)
    played = noise(0.5, rate_hz=RATE_HZ)
    with heard_as_played(pulse) as ears:
        for times in (2, 3):
            began = time.monotonic()
            guest.restart()
            assert eventually(partial(has_connected, guest, times))
            assert time.monotonic() - began < BACK_SECONDS_MAX
        guest.play(played)
        assert ears.hears(played), difference(played, ears.heard)
    dom0.await_event("device_disconnected", guest="work", domid=guest.domid, count=2)


def test_one_vchan_that_is_closed_takes_the_other_with_it(
    dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    playback, _ = guest.servers
    playback.set_octet(SRV_LIVE, 0)  # and the guest's thread knows nothing of it
    playback.channel.notify()
    assert eventually(lambda: guest.connections == 2)
    dom0.await_event("device_disconnected", guest="work", domid=guest.domid)


def test_guest_that_is_suspended_plays_and_records_on_when_it_is_back(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    """For longer than the agent waits for an audio server that has stalled."""
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        assert eventually(lambda: without_silence(bytes(guest.recorded)))
        guest.pause()
        _, capture = guest.servers
        assert eventually(lambda: capture.readable() == UNREAD_OCTETS_MAX[habits])
        time.sleep(SUSPENDED_SECONDS)
        assert capture.readable() == UNREAD_OCTETS_MAX[habits]  # what it hears first is not older
        before, began = len(guest.recorded), time.monotonic()
        guest.resume()
        assert eventually(
            lambda: without_silence(bytes(guest.recorded[before + UNREAD_OCTETS_MAX[habits] :]))
        )
        assert time.monotonic() - began < BACK_SECONDS_MAX
        played = noise(1, rate_hz=RATE_HZ)
        with heard_as_played(pulse) as ears:
            guest.play(played)
            assert ears.hears(played, 10), difference(played, ears.heard)
    assert guest.connections == 1
    assert not dom0.events("limit_hit", domid=guest.domid)


def test_guest_that_is_started_anew_is_connected_as_soon_as_it_offers_its_vchans(
    machine: LocalMachine, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    new_vchan_guest("work", habits)
    machine.destroy("work")
    began = time.monotonic()
    guest = new_vchan_guest("work", habits)
    assert time.monotonic() - began < BACK_SECONDS_MAX
    assert playback_state(dom0, guest) == "running"


def test_guest_that_is_destroyed_leaves_nothing(
    machine: LocalMachine, dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    saved = machine.directory / "dom0" / "vchans"
    assert [path.name for path in saved.iterdir()] == [str(guest.domid)]
    machine.destroy("work")
    dom0.await_event("device_disconnected", guest="work", domid=guest.domid)
    assert eventually(lambda: not list(saved.iterdir()))


def test_agent_that_is_killed_is_not_heard_but_for_a_pause(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    played = noise(3, rate_hz=RATE_HZ)
    guest = new_vchan_guest("work", habits)
    with heard_as_played(pulse) as ears:
        guest.play(played)
        ears.listen_until(lambda heard: len(without_silence(heard)) > SECOND_OCTETS)
        killed = dom0.agent_pid
        with dom0.one_more("stream_taken_over", direction="playback"):
            os.kill(killed, signal.SIGKILL)
            while dom0.events("stream_taken_over", domid=guest.domid) == []:
                assert guest.is_bound()
        assert eventually(lambda: guest.unplayed == 0)
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 10)
    assert guest.connections == 1
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) == 1


def kill(dom0: Dom0) -> float:
    os.kill(dom0.agent_pid, signal.SIGKILL)
    return time.time()


def renew(dom0: Dom0) -> float:
    """The agent serves until the next one is loaded."""
    known = len(dom0.events("agent_stopped"))
    dom0.signal(RENEW)
    stopped = dom0.await_event("agent_stopped", count=known + 1)
    return datetime.fromisoformat(stopped["TIME"]).timestamp()


@pytest.mark.parametrize("end", [kill, renew])
def test_guest_that_records_goes_on_when_the_agent_ends(
    pulse: PulseServer,
    dom0: Dom0,
    new_vchan_guest: NewGuest,
    habits: Habits,
    end: Callable[[Dom0], float],
) -> None:
    guest = new_vchan_guest("work", habits)
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        guest.start_recording()
        # An agent that has lived for less than a second is not followed at once.
        assert eventually(lambda: len(without_silence(bytes(guest.recorded))) > SECOND_OCTETS)
        with dom0.one_more("stream_taken_over", direction="capture"):
            began = end(dom0)
        after = len(guest.recorded)  # what is in the ring then may be older
        much = SECOND_OCTETS // 8
        assert eventually(lambda: len(without_silence(bytes(guest.recorded[after:]))) > much)
        assert time.time() - began < BACK_SECONDS_MAX
        guest.stop_recording()
        dom0.await_event("stream_closed", guest="work", direction="capture", domid=guest.domid)
    assert guest.connections == 1


def test_guest_that_corked_its_sink_is_corked_for_the_next_agent_too(
    dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    guest.cork()
    dom0.await_event("stream_stopped", guest="work", domid=guest.domid)
    with dom0.one_more("stream_taken_over", direction="playback"):
        os.kill(dom0.agent_pid, signal.SIGKILL)
    assert eventually(lambda: playback_state(dom0, guest) == "paused")
    guest.uncork()
    assert eventually(lambda: playback_state(dom0, guest) == "running")


def contains(part: bytes, heard: bytes) -> bool:
    return part in heard


def test_agent_that_is_renewed_is_not_heard_but_for_a_pause(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest, habits: Habits
) -> None:
    """And again, since the next opener has the guest's channels by then."""
    guest = new_vchan_guest("work", habits)
    for _ in range(2):
        played = noise(3, rate_hz=RATE_HZ)
        with heard_as_played(pulse) as ears:
            guest.play(played)
            ears.listen_until(lambda heard: len(without_silence(heard)) > SECOND_OCTETS)
            before = len(dom0.events("stream_taken_over", domid=guest.domid))
            dom0.signal(RENEW)
            while len(dom0.events("stream_taken_over", domid=guest.domid)) == before:
                assert guest.is_bound()
            assert eventually(lambda: guest.unplayed == 0)
            heard = ears.listen_until(partial(contains, played[-64:]), 10)
        assert guest.connections == 1
        assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) == 1


def test_guest_whose_agent_was_renewed_may_offer_its_vchans_anew(
    dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    with dom0.one_more("stream_taken_over", domid=guest.domid):
        dom0.signal(RENEW)
    guest.restart()
    assert eventually(lambda: guest.connections == 2), dom0.end_of_log
    guest.restart()
    assert eventually(lambda: guest.connections == 3), dom0.end_of_log


def test_agent_that_is_stopped_and_started_again_is_connected_anew(
    dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    guest = new_vchan_guest("work")
    assert dom0.stop() == 0
    assert eventually(lambda: not guest.is_connected)
    dom0.start()
    assert eventually(lambda: guest.is_connected)


def test_what_a_guest_says_while_no_agent_is_there_is_followed_by_the_next_one(
    pulse: PulseServer, dom0: Dom0, new_vchan_guest: NewGuest
) -> None:
    """PulseAudio's module says it once, into the ring that it has offered."""
    guest = new_vchan_guest("work")
    assert dom0.stop() == 0
    assert eventually(lambda: not guest.is_connected)
    guest.start_recording()
    guest.cork()
    with pulse.microphone(noise(20, rate_hz=RATE_HZ), rate_hz=RATE_HZ):
        dom0.start()
        assert eventually(lambda: without_silence(bytes(guest.recorded))), dom0.end_of_log
        assert playback_state(dom0, guest) == "paused"
        guest.stop_recording()
        assert eventually(lambda: "capture" not in streams(dom0, guest))
