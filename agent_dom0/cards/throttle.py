"""How many control requests one guest gets served: OPEN, TRIGGER, HW_PARAM_QUERY and the like.

All of a guest's streams share one throttle. While they wait there is one timer, whatever wakes the
agent meanwhile, and it polls that guest's devices alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Samples do not come this way. ALSA asks some hundred times what a stream can be when one is
# opened, and a desktop opens two.
REQUESTS_A_SECOND = 500
WINDOW_SECONDS = 1.0


class Throttle:
    def __init__(self) -> None:
        self._window_begun = float("-inf")
        self._served = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Callable[[], None], None] = {}  # in the order in which they came

    def admits(self) -> bool:
        """Whether one more request is served now. Call it once for each."""
        now = asyncio.get_running_loop().time()
        if now - self._window_begun >= WINDOW_SECONDS:
            self._window_begun, self._served = now, 0
        if self._served >= REQUESTS_A_SECOND:
            return False
        self._served += 1
        return True

    def poll_later(self, poll: Callable[[], None]) -> None:
        """Calls it when the next window begins: once, however often this is asked for."""
        self._waiting[poll] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._window_begun + WINDOW_SECONDS, self._poll)

    def _poll(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        for poll in waiting:
            poll()
