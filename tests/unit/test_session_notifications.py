"""The session helper's notifications, on a bus that leaves."""

from __future__ import annotations

import asyncio

import pytest

from agent_session.notifications import Notifications


class LeavingBus:
    def __init__(self) -> None:
        self.leaves = asyncio.Event()

    async def listen(self, _on_signal: object) -> None:
        await self.leaves.wait()
        raise EOFError

    async def call(self, *_: object) -> None:
        await asyncio.Event().wait()

    async def await_replies(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


def test_told_to_end_while_the_bus_leaves_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel_while_it_leaves() -> bool:
        bus = LeavingBus()

        async def connect() -> LeavingBus:
            return bus

        monkeypatch.setattr("agent_session.notifications.Bus.connect", connect)
        task = asyncio.create_task(Notifications().run())
        for _ in range(5):  # until it listens
            await asyncio.sleep(0)
        bus.leaves.set()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        return task.cancelled()

    assert asyncio.run(cancel_while_it_leaves())
