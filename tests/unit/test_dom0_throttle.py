"""A guest's control requests have one budget, and waiting has one timer."""

from __future__ import annotations

from agent_dom0.streams.throttle import REQUESTS_A_SECOND, WAIT_SECONDS, Throttle
from tests.unit.fake_clock import later, run


def test_requests_over_the_budget_wait() -> None:
    async def scene() -> None:
        throttle = Throttle()
        assert sum(throttle.admits() for _ in range(2 * REQUESTS_A_SECOND)) == REQUESTS_A_SECOND
        await later(WAIT_SECONDS)
        assert throttle.admits()

    run(scene(), stands_still=True)


def test_pause_gives_no_more_than_what_is_admitted_at_once() -> None:
    async def scene() -> None:
        throttle = Throttle(1, at_once=3)
        assert [throttle.admits() for _ in range(4)] == [True, True, True, False]
        await later(2)
        assert [throttle.admits() for _ in range(3)] == [True, True, False]
        await later(100)
        assert [throttle.admits() for _ in range(4)] == [True, True, True, False]

    run(scene(), stands_still=True)


def test_rule_lowers_and_raises_what_is_admitted() -> None:
    async def scene() -> None:
        throttle = Throttle(10)
        throttle.set_percent(50)
        assert [throttle.admits(5), throttle.admits()] == [True, False]
        await later(1)
        throttle.set_percent(200)
        await later(1)
        assert [throttle.admits(20), throttle.admits()] == [True, False]

    run(scene(), stands_still=True)


def test_rule_lets_something_be_admitted_however_low_it_is() -> None:
    async def scene() -> None:
        throttle = Throttle(1, at_once=8)
        throttle.set_percent(10)
        assert [throttle.admits(), throttle.admits()] == [True, False]
        await later(10)
        assert throttle.admits()

    run(scene(), stands_still=True)


def test_many_at_once_are_refused_together() -> None:
    async def scene() -> None:
        throttle = Throttle(10)
        assert not throttle.admits(11)
        assert throttle.admits(10)

    run(scene(), stands_still=True)


def test_who_waits_is_polled_once_a_second_however_often_it_was_looked_at() -> None:
    async def scene() -> None:
        throttle = Throttle()
        polled: list[str] = []

        def poll_first() -> None:
            polled.append("first")
            while throttle.admits():
                pass
            throttle.poll_later(poll_first)  # it still has too many

        def poll_second() -> None:
            polled.append("second")

        while throttle.admits():
            pass
        for _ in range(1000):
            throttle.poll_later(poll_first)
            throttle.poll_later(poll_second)
        await later(WAIT_SECONDS / 2)
        assert polled == []
        await later(WAIT_SECONDS)
        assert polled == ["first", "second"]
        await later(WAIT_SECONDS)
        assert polled == ["first", "second", "first"]

    run(scene(), stands_still=True)
