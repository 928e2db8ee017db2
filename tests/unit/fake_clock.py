"""An event loop whose time a test moves: `run(test())`, and in it `await later(30)`. It moves by
itself too, unless `run(test(), stands_still=True)`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class ClockLoop(asyncio.SelectorEventLoop):
    skipped_seconds = 0.0

    def time(self) -> float:
        return super().time() + self.skipped_seconds


class StillLoop(ClockLoop):
    def time(self) -> float:
        return self.skipped_seconds


def run(test: Coroutine[None, None, None], *, stands_still: bool = False) -> None:
    with asyncio.Runner(loop_factory=StillLoop if stands_still else ClockLoop) as runner:
        runner.run(test)


async def later(seconds: float) -> None:
    """Everything that is due by then has been done."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    loop.skipped_seconds += seconds
    for _ in range(3):
        await asyncio.sleep(0)
