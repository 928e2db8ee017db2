"""A guest's control requests have one budget, and waiting has one timer."""

from __future__ import annotations

from agent_dom0.streams.throttle import REQUESTS_A_SECOND, WINDOW_SECONDS, Throttle
from tests.unit.fake_clock import later, run


def test_requests_over_the_budget_wait_for_the_next_window() -> None:
    async def scene() -> None:
        throttle = Throttle()
        assert sum(throttle.admits() for _ in range(2 * REQUESTS_A_SECOND)) == REQUESTS_A_SECOND
        await later(WINDOW_SECONDS)
        assert throttle.admits()

    run(scene())


def test_who_waits_is_polled_once_a_window_however_often_it_was_looked_at() -> None:
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
        await later(WINDOW_SECONDS / 2)
        assert polled == []
        await later(WINDOW_SECONDS)
        assert polled == ["first", "second"]
        await later(WINDOW_SECONDS)
        assert polled == ["first", "second", "first"]

    run(scene())
