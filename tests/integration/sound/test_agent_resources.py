"""What a guest's card needs may not be there: that card waits, and others are served."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.agents import PATIENT, Dom0, Ended, Guest
from tests.support.large_card import MANY_STREAMS, offer_large_card
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import RawFrontend

PLAYED = Ended(0)
DESCRIPTORS = 280
STREAMS = 40  # each takes five of them


def test_card_that_needs_more_descriptors_than_there_are_waits_and_others_play(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    big, other = new_guest("big"), new_guest("other")
    few = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    directory = tmp_path / "dom0"
    with (
        Dom0(
            directory,
            machine.url,
            pulse.address,
            policy=MANY_STREAMS,
            options=[PATIENT],
            prefix=few,
        ) as dom0,
        closing(machine.transport("big")) as transport,
        closing(transport.open_store()) as store,
    ):
        dom0.await_event("device_made", domid=big.domid)
        backend = f"/local/domain/0/backend/vsnd/{big.domid}/0"
        offer_large_card(RawFrontend(transport, store, backend), STREAMS)

        failed = dom0.await_event("device_failed", domid=big.domid)
        assert "200 file descriptors are needed" in failed["MESSAGE"]
        played = noise(0.5)
        with pulse.listening() as ears:
            assert other.run("play", "-", stdin=played) == PLAYED
            assert ears.hears(played), difference(played, ears.heard)
        assert dom0.ask("status")["guests"]

        assert len(dom0.events("device_failed")) == 1
        assert "the agent died" not in dom0.log
        assert "Traceback" not in dom0.log
