"""Many Qubes guests at one agent."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from tests.support.agents import Dom0
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import PIPEWIRE, PULSEAUDIO, VchanGuest

OPTIONS = ("--vchan",)
GUESTS = 16


def test_sixteen_guests_are_connected_by_one_process_and_leave_nothing(
    machine: LocalMachine, dom0: Dom0
) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{dom0.agent_pid}/fd"))

    with ExitStack() as stack:
        guests = []
        for number in range(GUESTS):
            guest = VchanGuest(machine, f"work-{number}", (PULSEAUDIO, PIPEWIRE)[number % 2])
            stack.callback(machine.destroy, guest.name)
            guests.append(stack.enter_context(guest))
        assert eventually(lambda: all(guest.is_connected for guest in guests), 20)
        connected = {event["XENSND_GUEST"] for event in dom0.events("device_connected")}
        assert connected == {guest.name for guest in guests}
        assert descriptors() > 4 * GUESTS
    saved = Path(machine.directory, "dom0", "vchans")
    assert eventually(lambda: descriptors() < 4 * GUESTS and not list(saved.iterdir()))
