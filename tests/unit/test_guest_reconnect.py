"""How long a file waits for the card that it was played on, in a clock that is made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agent_guest import play_record
from agent_guest.card import Card, NoCardError
from agent_guest.pcm import BackendBroken
from agent_guest.play_record import BACK_WITHIN_SECONDS, Player, run_with_reconnect
from xensnd.errors import TransportLost

LOST = TransportLost("dom0 has left")


class Clock:
    """The time that run_with_reconnect() sees: it passes only in sleep()."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


class Job:
    """A player whose runs last so long, and end with these errors; the last one has none."""

    def __init__(self, clock: Clock, *runs: tuple[float, Exception | None]) -> None:
        self._clock = clock
        self._runs = list(runs)
        self.cards = 0

    async def run(self, _card: Card) -> None:
        seconds, error = self._runs.pop(0) if self._runs else (0, LOST)
        self.cards += 1
        self._clock.now += seconds
        if error is not None:
            raise error


def run(job: Job, connect: Callable[[], Any] | None = None) -> None:
    @asynccontextmanager
    async def card() -> AsyncIterator[Card]:
        yield cast(Card, None)

    coroutine = run_with_reconnect(cast(Player, job), connect or card)
    with pytest.raises(StopIteration):  # nothing in it waits for a loop
        coroutine.send(None)


def test_a_job_goes_on_with_the_next_card(clock: Clock) -> None:
    job = Job(clock, (1, LOST), (1, BackendBroken("its rings")), (1, None))
    run(job)
    assert job.cards == 3


def test_a_card_may_be_lost_again_long_after_the_first_time(clock: Clock) -> None:
    job = Job(clock, (1, LOST), (3600, LOST), (3600, LOST), (1, None))
    run(job)
    assert job.cards == 4


def test_a_job_that_never_comes_far_ends_with_what_was_wrong_last(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(clock)
    with pytest.raises(TransportLost, match="dom0 has left"):
        run(job)
    late_seconds = clock.now - BACK_WITHIN_SECONDS
    assert 0 < late_seconds < play_record.RETRY_LAST_SECONDS + 1
    assert caplog.messages == ["dom0 has left; going on as soon as it is back"]


def test_a_card_that_is_not_there_at_first_is_an_error(clock: Clock) -> None:
    @asynccontextmanager
    async def no_card() -> AsyncIterator[Card]:
        raise NoCardError("no card")
        yield

    with pytest.raises(NoCardError):
        run(Job(clock), no_card)
    assert clock.now == 0
