"""An event loop whose time a test moves: `run(test())`, and in it `await later(30)`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class ClockLoop(asyncio.SelectorEventLoop):
    skipped_seconds = 0.0

    def time(self) -> float:
        return super().time() + self.skipped_seconds


def run(test: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(test)


async def later(seconds: float) -> None:
    """Everything that is due by then has been done."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    loop.skipped_seconds += seconds
    for _ in range(3):
        await asyncio.sleep(0)
