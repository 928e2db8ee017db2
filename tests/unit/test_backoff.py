"""The delays between tries."""

from __future__ import annotations

import asyncio

import pytest

from xensnd.backoff import BackOff


def test_delays_double_up_to_the_last() -> None:
    back_off = BackOff(0.1, 0.5)
    assert [back_off.next_seconds() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_after_a_success_the_delays_begin_anew() -> None:
    back_off = BackOff(0.1, 0.5)
    back_off.next_seconds()
    back_off.next_seconds()
    back_off.reset()
    assert [back_off.next_seconds() for _ in range(2)] == [0.1, 0.2]


def test_failures_are_known_until_a_success() -> None:
    back_off = BackOff(0.1, 0.5)
    assert not back_off.has_failed
    back_off.next_seconds()
    assert back_off.has_failed
    back_off.reset()
    assert not back_off.has_failed


def test_waiting_sleeps_for_the_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def wait_twice() -> None:
        back_off = BackOff(0.1, 0.5)
        await back_off.wait()
        await back_off.wait()

    monkeypatch.setattr("xensnd.backoff.asyncio.sleep", sleep)
    asyncio.run(wait_twice())
    assert slept == [0.1, 0.2]
