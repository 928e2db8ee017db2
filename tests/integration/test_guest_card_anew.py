"""dom0 takes the card away and makes it anew, at each of the requests that the guest's agent makes
of XenStore while it connects. The agent connects with the new one, and waits for no time-out.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, cast

import pytest

from agent_guest.card import HANDSHAKE_TIMEOUT_SECONDS, Card
from agent_guest.play_record import Player, run_with_reconnect
from tests.support.agents import Guest
from tests.support.local_machine import LocalMachine
from tests.support.raw_backend import RawBackend
from tests.support.raw_frontend import eventually
from xensnd.core import Engine
from xensnd.sndif.states import XenbusState
from xensnd.transport.local import LocalTransport
from xensnd.transport.xenstore import XenStore

AT_ONCE_SECONDS = HANDSHAKE_TIMEOUT_SECONDS / 2
Step = Callable[[RawBackend], None]


class InterruptedTransport(LocalTransport):
    """A guest's transport. Before the request of this number to XenStore it does `work`."""

    def __init__(
        self, machine: LocalMachine, domain: str, number: int, work: Callable[[], None]
    ) -> None:
        super().__init__(machine.directory, domain)
        self._requests_left = number
        self._work = work
        self.is_done = threading.Event()

    def open_store(self) -> XenStore:
        store = super().open_store()
        wire: Any = store._wire
        call = wire.call

        def interrupted_call(op: int, payloads: Sequence[bytes], transaction: int) -> Any:
            self._requests_left -= 1
            if not self._requests_left:
                self._work()
                self.is_done.set()
            return call(op, payloads, transaction)

        wire.call = interrupted_call
        return store


class Staying:
    """A job that stays with a card until it is lost."""

    async def run(self, card: Card) -> None:
        await card.lost.wait()
        raise card.why_lost


def has_published(backend: RawBackend) -> bool:
    with suppress(KeyError):
        return backend.frontend_state() is XenbusState.INITIALISED
    return False


def serve_anew(backend: RawBackend, transport: InterruptedTransport, finish: Step) -> bool:
    """Connect with the new card, after `finish`. Returns whether the agent was interrupted before
    it had nothing more to do."""
    eventually(lambda: transport.is_done.is_set() or has_published(backend))
    if not transport.is_done.wait(0.1):  # it still looks at its own change
        return False
    finish(backend)
    assert eventually(lambda: has_published(backend), AT_ONCE_SECONDS), backend.frontend_state()
    backend.finish_connecting()
    return True


async def connect(backend: RawBackend, transport: InterruptedTransport, finish: Step) -> bool:
    """As serve_anew(), with an agent in this thread."""
    with closing(Engine()) as engine:
        job = cast(Player, Staying())
        agent = asyncio.create_task(run_with_reconnect(job, lambda: Card(transport, engine)))
        try:
            return await asyncio.to_thread(serve_anew, backend, transport, finish)
        finally:
            agent.cancel()
            if backend.streams:
                await asyncio.to_thread(backend.await_frontend, XenbusState.CLOSING)
                backend.let_go()
            with suppress(asyncio.CancelledError):
                await agent  # raises why it has ended by itself


def nothing(_backend: RawBackend) -> None:
    """There is no more, or no more yet."""


def make_and_offer(backend: RawBackend) -> None:
    backend.make_device()
    backend.offer()


@pytest.mark.parametrize(
    ("meanwhile", "later"),
    [
        (nothing, make_and_offer),
        (RawBackend.make_device, RawBackend.offer),
        (make_and_offer, nothing),
    ],
    ids=["removed", "made", "offered"],
)
def test_a_card_that_is_taken_away_at_any_time_is_connected_as_soon_as_it_is_back(
    work: Guest, machine: LocalMachine, meanwhile: Step, later: Step
) -> None:
    backend, toolstack = (
        RawBackend(machine.transport(), machine.open_store(), work.domid) for _ in range(2)
    )

    def interrupt() -> None:
        toolstack.remove_device()
        meanwhile(toolstack)

    for number in itertools.count(1):
        make_and_offer(backend)
        with closing(InterruptedTransport(machine, work.name, number, interrupt)) as transport:
            if not asyncio.run(connect(backend, transport, later)):
                break
        backend.remove_device()
    assert number > 20
