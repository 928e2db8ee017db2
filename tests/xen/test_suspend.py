"""Guests with the stock driver are paused, saved and restored, idle and playing."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.heard import missing_msec
from tests.support.pulse_server import noise
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.guest import cards, load_driver, plays_exactly, start_aplay
from tests.xen.interruptions import CHECKPOINT, pause, restore, save_and_go_on
from tests.xen.lab import XenGuest, wait_until
from tests.xen.remote import Ended, Machine

POLICY = ALLOW_BOTH
PLAYED = Ended(0)
SECOND = 4 * 48000
BUFFER = ("--buffer-size=48000",)
BUFFER_MSEC = 1000


def test_guest_paused_while_it_plays_goes_on(
    dom0: Machine, agent: Agent, pulse: Pulse, guest: XenGuest
) -> None:
    played = noise(5)
    with pulse.listening() as ears, start_aplay(guest, played) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
        pause(dom0, guest)
        assert playing.ended().status == 0
        ears.listen_until(lambda heard: played[-64:] in heard)
        assert ears.heard.replace(b"\0", b"") == played
    assert agent.events("protocol_violation") == []


def test_idle_guest_is_saved_and_restored_with_its_card(
    dom0: Machine, pulse: Pulse, agent: Agent, new_guest: Callable[..., XenGuest]
) -> None:
    guest = new_guest("sleeper")
    load_driver(guest)
    plays_exactly(pulse, guest, 2)
    began = time.monotonic()
    guest.xl("save", CHECKPOINT, seconds=120)
    assert time.monotonic() - began < 60
    with agent.one_more("device_connected", guest="sleeper"):
        restore(dom0, guest)
    wait_until(lambda: "vsnd" in cards(guest), 20, lambda: "the card is gone")
    plays_exactly(pulse, guest, 3)


def test_suspend_that_is_cancelled_leaves_the_playing_guest(
    dom0: Machine, pulse: Pulse, agent: Agent, new_guest: Callable[..., XenGuest]
) -> None:
    """`xl save -c`: PAUSE, some seconds, WRITEs from offset 0, START."""
    guest = new_guest("cancelled")
    load_driver(guest)
    played = noise(10, seed=4)
    with pulse.listening() as ears, start_aplay(guest, played, *BUFFER) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
        save_and_go_on(dom0, guest)
        assert playing.ended(120).status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard)
    # ALSA drops what is in the buffer when a PCM is suspended: one piece, and no more than that.
    missing = missing_msec(played, heard)
    assert played[-64:] in heard
    assert missing == list(range(missing[0], missing[0] + 10 * len(missing), 10))
    assert 10 * len(missing) <= BUFFER_MSEC
    assert agent.events("protocol_violation") == []
