"""What our agent in a guest is connected to goes away, and comes back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support.heard import (
    FRAME_OCTETS,
    gaps,
    gaps_of_whole,
    missing_msec,
    seconds_heard,
    stretches,
    tone_lasts,
    tone_seconds,
)
from tests.support.pulse_server import noise
from tests.xen.desktop import desktop, playing_tone, serving
from tests.xen.dom0 import ALLOW_BOTH, QUEUED_MSEC, Agent, Pulse
from tests.xen.lab import Lab, XenGuest
from tests.xen.remote import Machine
from tests.xen.test_hotplug import DEVICE
from tests.xen.test_takeover import kill_worker

POLICY = ALLOW_BOTH
SECOND = 4 * 48000


@pytest.fixture(scope="module")
def bare(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("bare") as guest:
        yield guest


def test_killed_agent_loses_no_frame_of_a_guest_that_plays(
    dom0: Machine, pulse: Pulse, agent: Agent, bare: XenGuest
) -> None:
    played, kills = noise(6), []
    with (
        pulse.listening() as ears,
        bare.start("xensnd-guest", "play", "-", stdin=played) as playing,
    ):
        for seconds in (1, 3):
            kills.append(len(ears.listen_until(seconds_heard(seconds))) // FRAME_OCTETS)
            kill_worker(dom0, agent)
        ended = playing.ended()
        assert (ended.status, ended.errors) == (0, "")
        heard = ears.listen_until(lambda heard: played[-64:] in heard)
    outages = gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)
    assert all(kill <= gap.at for kill, gap in zip(kills, outages, strict=True))


def test_killed_agent_lets_a_guest_record_on(
    dom0: Machine, pulse: Pulse, agent: Agent, bare: XenGuest
) -> None:
    spoken = noise(30, seed=2)
    command = ("xensnd-guest", "record", "--seconds=8", "-")
    with pulse.microphone(spoken), bare.start(*command) as recording:
        before = recording.listen_until(seconds_heard(1))
        kill_worker(dom0, agent)
        ended = recording.ended()
    assert ended.status == 0, ended.errors
    assert len(ended.octets) == 8 * SECOND
    # The emulation may make the guest late for its short buffer at other times, too.
    missed = gaps(ended.octets, spoken)
    assert any(len(before) // FRAME_OCTETS <= each.at for each in missed)
    assert all(0 <= each.silent <= each.missing for each in missed)


def test_killed_agent_leaves_a_guest_its_sink(
    dom0: Machine, pulse: Pulse, agent: Agent, bare: XenGuest
) -> None:
    with (
        desktop(bare) as desk,
        serving(desk) as serve,
        pulse.listening() as ears,
        playing_tone(desk),
    ):
        assert tone_seconds(ears.listen_until(tone_lasts(1), 30)) > 1
        kill_worker(dom0, agent)
        before = len(ears.heard)
        heard = ears.listen_until(tone_lasts(2, after=before), 30)[before:]
        assert tone_seconds(heard) > 2, serve.errors


def test_playing_goes_on_when_its_card_is_detached_and_attached_again(
    pulse: Pulse, agent: Agent, new_guest: Callable[..., XenGuest]
) -> None:
    guest = new_guest("plugged", config=f"vsnd = [ {[*DEVICE]} ]".replace("'", '"'))
    played = noise(8, seed=3)
    with (
        pulse.listening() as ears,
        guest.start("xensnd-guest", "play", "-", stdin=played) as playing,
    ):
        ears.listen_until(seconds_heard(1))
        guest.xl("vsnd-detach", "0")
        guest.xl("vsnd-attach", *DEVICE)
        ended = playing.ended()
        assert ended.status == 0, ended.errors
        ears.listen_until(lambda heard: played[-64:] in heard)
        # The audio server takes some of what it has queued for heard, as late as it is here; on
        # local:, where it is not, nothing is missing.
        assert 10 * len(missing_msec(played, ears.heard)) <= QUEUED_MSEC
    assert agent.events("protocol_violation") == []


def test_playing_goes_on_when_dom0s_audio_server_is_back(pulse: Pulse, bare: XenGuest) -> None:
    played = noise(15, seed=4)
    with bare.start("xensnd-guest", "play", "-", stdin=played) as playing:
        with pulse.listening() as ears:
            ears.listen_until(seconds_heard(1))
            pulse.signal(signal.SIGKILL)
        pulse.stop()
        pulse.start()
        with pulse.listening() as ears:
            ended = playing.ended()
            ears.listen_until(lambda heard: played[-64:] in heard)
    assert (ended.status, ended.errors) == (0, "")
    assert stretches(ears.heard, played)[-1].end == len(played) // FRAME_OCTETS
    assert all(each.missing == 0 for each in gaps(ears.heard, played))
