"""Guests come and go, with devices that the agent makes for them or that xl made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.pulse_server import difference, left_of, noise, on_left, on_right, right_of
from tests.xen.dom0 import ALLOW_BOTH, ALLOW_PLAYBACK, PATIENT, Agent, Pulse
from tests.xen.guest import (
    STEREO,
    arecord,
    assert_recorded,
    cards,
    load_driver,
    plays_exactly,
    start_aplay,
    start_playing,
    start_recording,
)
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended, Machine

PLAYED = Ended(0)

VSND = """vsnd = [ [
    "CARD, short-name=Xen0, long-name=XenCard, buffer-size=262144, sample-formats=s16_le",
    "PCM, name=pcm0",
    "STREAM, unique-id=playback, type=p, channels-max=2, sample-rates=44100;48000",
    "STREAM, unique-id=capture, type=c, channels-max=2, sample-rates=44100;48000" ] ]"""


TWO_PCMS = """vsnd = [ [
    "CARD, short-name=Xen0, long-name=XenCard, buffer-size=262144, sample-formats=s16_le",
    "PCM, name=first",
    "STREAM, unique-id=left, type=p, channels-max=2, sample-rates=48000",
    "STREAM, unique-id=right, type=p, channels-max=2, sample-rates=48000",
    "STREAM, unique-id=microphone, type=c, channels-max=2, sample-rates=48000",
    "PCM, name=second",
    "STREAM, unique-id=headphones, type=p, channels-max=2, sample-rates=48000" ] ]"""

FOUR = ("one", "two", "three", "four")
EACH_ITS_SINK = "version: 1\nrules:\n" + "".join(
    f"  - {{guest: {name}, playback: allow, device: sink-{name}}}\n" for name in FOUR
)


def test_guest_that_was_there_first_gets_its_card(
    dom0: Machine, pulse: Pulse, new_guest: Callable[..., XenGuest]
) -> None:
    guest = new_guest("early")
    guest.do("modprobe", "snd-xen-front")
    assert "vsnd" not in cards(guest)
    with Agent(dom0, pulse, PATIENT, directory="/run/late-agent") as agent:
        agent.await_event("device_made", guest="early")
        load_driver(guest)
        plays_exactly(pulse, guest, 1)


def test_device_that_xl_made_is_served(
    agent: Agent, dom0: Machine, pulse: Pulse, new_guest: Callable[..., XenGuest]
) -> None:
    """It takes the place of one that the agent may have made while xl was at it."""
    guest = new_guest("by-xl", config=VSND)
    load_driver(guest)
    plays_exactly(pulse, guest, 2)
    backend = f"/local/domain/0/backend/vsnd/{guest.domid}"
    assert dom0.do("xenstore-list", backend) == "0\n"
    assert "provisioned-by" not in dom0.do("xenstore-list", f"{backend}/0")
    agent.await_event("device_connected", guest="by-xl")


def test_two_guests_play_at_once_each_under_its_name(
    pulse: Pulse, guest: XenGuest, new_guest: Callable[..., XenGuest]
) -> None:
    other = new_guest("personal")
    load_driver(other)
    one, two = noise(4, frame_octets=2, seed=3), noise(4, frame_octets=2, seed=4)
    with (
        pulse.listening() as ears,
        start_aplay(guest, on_left(one)) as playing,
        start_aplay(other, on_right(two)) as other_playing,
    ):
        ears.listen_until(
            lambda heard: left_of(heard).strip(b"\0") and right_of(heard).strip(b"\0")
        )
        inputs = pulse.pactl("list", "sink-inputs")
        assert 'application.name = "work"' in inputs
        assert 'application.name = "personal"' in inputs
        assert (playing.ended(), other_playing.ended()) == (PLAYED, PLAYED)
        heard = ears.listen_until(lambda heard: one in left_of(heard) and two in right_of(heard), 5)
    assert one in left_of(heard), difference(one, left_of(heard))
    assert two in right_of(heard), difference(two, right_of(heard))


def test_streams_of_one_card_sound_at_once(
    agent: Agent, pulse: Pulse, new_guest: Callable[..., XenGuest]
) -> None:
    agent.use(ALLOW_BOTH)
    guest = new_guest("studio", config=TWO_PCMS)
    load_driver(guest)
    one, two = noise(4, frame_octets=2, seed=7), noise(4, frame_octets=2, seed=8)
    spoken = noise(12, seed=9)
    with (
        pulse.microphone(spoken),
        pulse.listening() as ears,
        start_playing(guest, on_left(one), STEREO, device="hw:0,0,0") as playing,
        start_playing(guest, on_right(two), STEREO, device="hw:0,0,1") as other_playing,
        start_recording(guest, STEREO, "-d2") as recording,
    ):
        assert (playing.ended(), other_playing.ended()) == (PLAYED, PLAYED)
        heard = ears.listen_until(lambda heard: one in left_of(heard) and two in right_of(heard), 5)
        recorded = recording.ended()
    assert one in left_of(heard), difference(one, left_of(heard))
    assert two in right_of(heard), difference(two, right_of(heard))
    assert_recorded(recorded, spoken, 2)
    played = noise(1, seed=10)
    with (
        pulse.listening() as ears,
        start_playing(guest, played, STEREO, device="hw:0,1,0") as playing,
    ):
        assert playing.ended() == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_four_guests_play_at_once_each_on_the_sink_that_policy_names(
    agent: Agent, pulse: Pulse, new_guest: Callable[..., XenGuest]
) -> None:
    agent.use(EACH_ITS_SINK)
    guests = {name: new_guest(name) for name in FOUR}
    played = {name: noise(6, seed=20 + number) for number, name in enumerate(FOUR)}
    with ExitStack() as stack:
        ears = {}
        for name, guest in guests.items():
            load_driver(guest)
            ears[name] = stack.enter_context(
                pulse.listening(stack.enter_context(pulse.sink(f"sink-{name}")))
            )
        playing = [
            stack.enter_context(start_aplay(guest, played[name])) for name, guest in guests.items()
        ]
        for each in ears.values():
            each.listen_until(lambda heard: heard.strip(b"\0"))
        inputs = pulse.pactl("list", "sink-inputs")
        assert all(f'application.name = "{name}"' in inputs for name in FOUR)
        assert [each.ended() for each in playing] == [PLAYED] * 4
        for name in FOUR:
            assert ears[name].hears(played[name]), difference(played[name], ears[name].heard)
    agent.use(ALLOW_PLAYBACK)


@pytest.mark.parametrize("kind", ["pvh"])
def test_guest_of_another_kind_plays_and_records(
    agent: Agent, pulse: Pulse, new_guest: Callable[..., XenGuest], kind: str
) -> None:
    agent.use(ALLOW_BOTH)
    guest = new_guest("modern", kind=kind)
    load_driver(guest)
    plays_exactly(pulse, guest, 30)
    spoken = noise(8, seed=31)
    with pulse.microphone(spoken):
        recorded = arecord(guest, 1)
    assert_recorded(recorded, spoken, 1)


def test_guest_destroyed_while_it_plays_leaves_nothing(
    agent: Agent, dom0: Machine, pulse: Pulse, guest: XenGuest, new_guest: Callable[..., XenGuest]
) -> None:
    doomed = new_guest("doomed")
    load_driver(doomed)
    domid = doomed.domid
    with pulse.listening() as ears, start_aplay(doomed, noise(20, seed=5)):
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 96000)
        doomed.destroy()
    agent.await_event("stream_closed", guest="doomed", domid=domid)
    assert dom0.run("xenstore-ls", f"/local/domain/0/backend/vsnd/{domid}").status != 0
    assert "(null)" not in dom0.do("xl", "list")  # a domain that is dead, and mapped by someone
    plays_exactly(pulse, guest, 6)
