"""Cards come and go under the stock driver: by xl, by policy, and by the driver itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.pulse_server import noise
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.guest import cards, load_driver, plays_exactly, start_aplay
from tests.xen.lab import XenGuest, wait_until
from tests.xen.remote import Ended, Machine

NOBODY = "version: 1\nrules: []\n"
DEVICE = (
    "CARD, short-name=Xen0, long-name=XenCard, buffer-size=262144, sample-rates=48000, "
    "sample-formats=s16_le",
    "PCM, name=pcm0",
    "STREAM, unique-id=playback, type=p, channels-max=2",
)
POLICY = ALLOW_BOTH
PLAYED = Ended(0)


def has_card(guest: XenGuest) -> bool:
    return "vsnd" in cards(guest)


def test_driver_unbound_and_bound_again_has_its_card(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    guest.do("sh", "-c", "echo vsnd-0 >/sys/bus/xen/drivers/vsnd/unbind")
    assert not has_card(guest)
    guest.do("sh", "-c", "echo vsnd-0 >/sys/bus/xen/drivers/vsnd/bind")
    wait_until(lambda: has_card(guest), 20, lambda: cards(guest))
    plays_exactly(pulse, guest, 1)
    assert agent.events("protocol_violation") == []


@pytest.fixture
def plugged(agent: Agent, new_guest: Callable[..., XenGuest]) -> XenGuest:  # noqa: ARG001
    """A guest with the driver, and a card that xl made."""
    guest = new_guest("plugged", config=f"vsnd = [ {[*DEVICE]} ]".replace("'", '"'))
    load_driver(guest)
    return guest


def attach(dom0: Machine, guest: XenGuest) -> None:
    vsnd = " ".join(f"'{part}'" for part in DEVICE)
    dom0.do("sh", "-c", f"xl vsnd-attach {guest.name} {vsnd}", seconds=60)
    wait_until(lambda: has_card(guest), 20, lambda: cards(guest))


def detach(guest: XenGuest) -> None:
    began = time.monotonic()
    guest.xl("vsnd-detach", "0")
    assert time.monotonic() - began < 8  # xl would wait 10 s for a backend that says nothing
    assert not has_card(guest)


def test_idle_card_is_detached_and_attached_again(
    dom0: Machine, pulse: Pulse, plugged: XenGuest
) -> None:
    for seed in (4, 5):
        plays_exactly(pulse, plugged, seed)
        detach(plugged)
        attach(dom0, plugged)
    plays_exactly(pulse, plugged, 6)


def test_card_that_plays_is_detached_and_attached_again(
    dom0: Machine, pulse: Pulse, plugged: XenGuest
) -> None:
    """Players get an error and close it, and only then the card goes: the stock driver would have
    none before the guest's next boot."""
    plugged.do("dmesg", "-c")
    for seed in (7, 8):
        with (
            pulse.listening() as ears,
            start_aplay(plugged, noise(20, seed=seed)) as playing,
        ):
            ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 96000)
            detach(plugged)
            assert playing.ended().status == 1
        attach(dom0, plugged)
    plays_exactly(pulse, plugged, 9)
    assert "Call Trace" not in plugged.do("dmesg")


def test_sound_taken_away_while_it_plays_silences_at_once_and_spares_the_driver(
    pulse: Pulse, agent: Agent, new_guest: Callable[..., XenGuest]
) -> None:
    """A detach while playing corrupts the stock driver: the device stays until it is unused."""
    guest = new_guest("unlucky")
    load_driver(guest)
    guest.do("dmesg", "-c")
    with pulse.listening() as ears, start_aplay(guest, noise(5, seed=2)) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 192000)
        try:
            with agent.one_more("decision", guest="unlucky", decision="deny"):
                agent.write_policy(NOBODY)
            assert playing.ended().status == 0
        finally:
            agent.use(POLICY)
    assert has_card(guest)
    assert guest.do("dmesg") == ""
    plays_exactly(pulse, guest, 3)


def test_device_is_removed_when_the_driver_has_left(
    agent: Agent, new_guest: Callable[..., XenGuest]
) -> None:
    guest = new_guest("leaver")
    load_driver(guest)
    with agent.one_more("device_made", guest="leaver"):
        try:
            with agent.one_more("device_removed", guest="leaver"):
                agent.write_policy(NOBODY)
                guest.do("sh", "-c", "echo vsnd-0 >/sys/bus/xen/drivers/vsnd/unbind")
        finally:
            agent.write_policy(POLICY)
    wait_until(lambda: has_card(guest), 20, lambda: cards(guest))
