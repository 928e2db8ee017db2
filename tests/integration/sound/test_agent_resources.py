"""What a guest's card needs may not be there: that card waits, and others are served."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent_dom0.cards.toolstack import default_card
from tests.support.agents import PATIENT, Dom0, Ended, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import RawFrontend, RawStream
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import Direction, card_nodes

PLAYED = Ended(0)
DESCRIPTORS = 120
STREAMS = 40  # each takes five of them


def test_card_that_needs_more_descriptors_than_there_are_waits_and_others_play(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    big, other = new_guest("big"), new_guest("other")
    few = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    directory = tmp_path / "dom0"
    with (
        Dom0(directory, machine.url, pulse.address, options=[PATIENT], prefix=few) as dom0,
        closing(machine.transport("big")) as transport,
        closing(transport.open_store()) as store,
    ):
        dom0.await_event("device_made", domid=big.domid)
        backend = f"/local/domain/0/backend/vsnd/{big.domid}/0"
        frontend = RawFrontend(transport, store, backend)
        frontend.begin_afresh()
        frontend.write(large_card())
        for number in range(STREAMS):
            rings = RawStream(transport).rings.nodes()
            frontend.write({f"{number // 8}/{number % 8}/{name}": rings[name] for name in rings})
        frontend.enter(XenbusState.INITIALISED)

        failed = dom0.await_event("device_failed", domid=big.domid)
        assert "Too many open files" in failed["MESSAGE"]
        played = noise(0.5)
        with pulse.listening() as ears:
            assert other.run("play", "-", stdin=played) == PLAYED
            assert ears.hears(played), difference(played, ears.heard)
        assert dom0.ask("status")["guests"]

        assert len(dom0.events("device_failed")) == 1
        assert "the agent died" not in dom0.log
        assert "Traceback" not in dom0.log


def large_card() -> dict[str, str]:
    """As a guest may write it in place of what it was given."""
    card = default_card()
    (pcm,) = card.pcms
    stream = next(each for each in pcm.streams if each.direction is Direction.PLAYBACK)
    pcms = tuple(
        replace(
            pcm,
            index=number,
            streams=tuple(
                replace(stream, index=index, unique_id=f"{number}-{index}") for index in range(8)
            ),
        )
        for number in range(STREAMS // 8)
    )
    return card_nodes(replace(card, pcms=pcms))
