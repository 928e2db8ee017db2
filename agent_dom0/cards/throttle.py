"""Limits the control requests of one guest: OPEN, TRIGGER, HW_PARAM_QUERY and so on.

All streams of a guest share one throttle. While they wait there is one timer, which polls only that
guest's devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# READ and WRITE do not count here. ALSA sends some hundred queries when a stream is opened, and a
# desktop opens two.
REQUESTS_A_SECOND = 500
WINDOW_SECONDS = 1.0


class Throttle:
    def __init__(self) -> None:
        self._window_begun = float("-inf")
        self._served = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Callable[[], None], None] = {}  # in the order in which they came

    def admits(self) -> bool:
        """Return whether one more request is served now. Call it once for each request."""
        now = asyncio.get_running_loop().time()
        if now - self._window_begun >= WINDOW_SECONDS:
            self._window_begun, self._served = now, 0
        if self._served >= REQUESTS_A_SECOND:
            return False
        self._served += 1
        return True

    def poll_later(self, poll: Callable[[], None]) -> None:
        """Call `poll` once when the next window begins, even if this is called several times."""
        self._waiting[poll] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._window_begun + WINDOW_SECONDS, self._poll)

    def _poll(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        for poll in waiting:
            poll()
