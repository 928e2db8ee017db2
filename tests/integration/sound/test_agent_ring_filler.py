"""A guest's vCPU fills a request ring without end: its neighbour is heard octet for octet, and the
guest waits, is named in the trail, and is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.ring_filler import FRAME_OCTETS, RingFiller
from tests.support.agents import Dom0, Guest, Neighbour, neighbour_of
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import BUFFER_OCTETS, RawFrontend, RawStream
from xensnd.core import REFUSED_MAX
from xensnd.sndif.packets import Operation, Status, Trigger, TriggerRequest
from xensnd.sndif.states import XenbusState

IN_BUFFER = range(BUFFER_OCTETS)
BEHIND_BUFFER = range(BUFFER_OCTETS, BUFFER_OCTETS + FRAME_OCTETS)
# Pauses of 10 ms to 2.56 s, and what comes between them.
CLOSED_SECONDS = 20.0


@pytest.fixture(scope="module")
def neighbour(machine: LocalMachine, dom0: Dom0, pulse: PulseServer) -> Iterator[Neighbour]:
    _ = dom0
    with neighbour_of(pulse, Guest(machine, "neighbour")) as neighbour:
        yield neighbour


@pytest.fixture
def evil(
    machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest], neighbour: Neighbour
) -> Iterator[RawFrontend]:
    """A guest's frontend that has connected."""
    _ = neighbour
    guest = new_guest("evil")
    dom0.await_event("device_made", domid=guest.domid)
    transport = machine.transport(guest.name)
    store = transport.open_store()
    frontend = RawFrontend(transport, store, f"/local/domain/0/backend/vsnd/{guest.domid}/0")
    frontend.connect()
    yield frontend
    store.close()
    transport.close()


def play(evil: RawFrontend) -> RawStream:
    stream = evil.streams[0]
    assert stream.ask(stream.good_open()) == Status.OK
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    return stream


def test_ring_filled_without_a_word_costs_the_neighbour_nothing(
    evil: RawFrontend, neighbour: Neighbour
) -> None:
    with RingFiller(play(evil), Operation.WRITE, IN_BUFFER, rings=False) as filler:
        for _ in range(20):
            neighbour.assert_undisturbed()
    assert filler.sent > 1000


def test_guest_that_fills_its_ring_and_rings_is_named_and_closed_and_nobody_else_hears_it(
    dom0: Dom0, evil: RawFrontend, neighbour: Neighbour
) -> None:
    limits, violations = (len(dom0.events(kind)) for kind in ("limit_hit", "protocol_violation"))
    with RingFiller(play(evil), Operation.WRITE, IN_BUFFER, rings=True):
        said = dom0.await_event("limit_hit", guest="evil", count=limits + 1)
        neighbour.assert_undisturbed()
        violation = dom0.await_event(
            "protocol_violation", guest="evil", count=violations + 1, seconds=CLOSED_SECONDS
        )
        neighbour.assert_undisturbed()
    assert "more requests than the guest's budget allows; all its streams wait" in str(
        said["MESSAGE"]
    )
    assert "too many requests or notifications for too long" in str(violation["MESSAGE"])
    evil.await_backend(XenbusState.CLOSED)


def test_ring_kept_full_of_what_is_refused_is_closed_at_once(
    dom0: Dom0, evil: RawFrontend, neighbour: Neighbour
) -> None:
    violations = len(dom0.events("protocol_violation"))
    with RingFiller(play(evil), Operation.WRITE, BEHIND_BUFFER, rings=True):
        violation = dom0.await_event("protocol_violation", guest="evil", count=violations + 1)
    assert f"{REFUSED_MAX} READs and WRITEs were invalid" in str(violation["MESSAGE"])
    evil.await_backend(XenbusState.CLOSED)
    neighbour.assert_undisturbed()
