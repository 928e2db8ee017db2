"""What a guest's card needs may not be there: that card waits, and others are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.agents import PATIENT, Dom0, Guest, assert_plays, driver_of
from tests.support.large_card import MANY_STREAMS, offer_large_card
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer

DESCRIPTORS = 280
STREAMS = 40  # each takes five of them


def test_card_that_needs_more_descriptors_than_there_are_waits_and_others_play(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    big, other = new_guest("big"), new_guest("other")
    few = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    dom0 = Dom0(
        tmp_path / "dom0",
        machine.url,
        pulse.address,
        policy=MANY_STREAMS,
        options=[PATIENT],
        prefix=few,
    )
    with dom0, driver_of(machine, dom0, big) as driver:
        offer_large_card(driver, STREAMS)
        failed = dom0.await_event("device_failed", domid=big.domid)
        assert f"{5 * STREAMS} file descriptors are needed" in failed["MESSAGE"]
        assert_plays(other, pulse)
        assert dom0.ask("status")["guests"]
        assert len(dom0.events("device_failed")) == 1
        assert "the agent died" not in dom0.log
        assert "Traceback" not in dom0.log
