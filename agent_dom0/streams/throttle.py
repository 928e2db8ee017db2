"""Limits what one guest makes the agent do in a second: its control requests (OPEN, TRIGGER,
HW_PARAM_QUERY and so on), and what XenStore tells of its nodes.

All devices of a guest share its throttles. While they wait there is one timer for each throttle,
which polls only that guest's devices. Other guests never wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# READ and WRITE do not count here. ALSA sends some hundred queries when a stream is opened, and a
# desktop opens two.
REQUESTS_A_SECOND = 500

# A frontend writes its state about five times until it is connected.
STORE_EVENTS_A_SECOND = 100

WINDOW_SECONDS = 1.0

# A guest that keeps within the limit for so long is told of anew when it next exceeds it.
QUIET_SECONDS = 60.0


class Throttle:
    """Admits `most` in each window.

    `exceeds_anew`: what was refused last is the first in QUIET_SECONDS, so it is to be audited.
    """

    def __init__(self, most: int = REQUESTS_A_SECOND) -> None:
        self.exceeds_anew = False
        self._most = most
        self._window_begun = self._exceeded_at = float("-inf")
        self._served = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Callable[[], None], None] = {}  # in the order in which they came

    def admits(self, count: int = 1) -> bool:
        """Return whether so many more are served now. Call it once for all that came at once."""
        now = asyncio.get_running_loop().time()
        if now - self._window_begun >= WINDOW_SECONDS:
            self._window_begun, self._served = now, 0
        self._served += count
        if self._served <= self._most:
            return True
        self.exceeds_anew = now - self._exceeded_at >= QUIET_SECONDS
        self._exceeded_at = now
        return False

    def poll_later(self, poll: Callable[[], None]) -> None:
        """Call `poll` once when the next window begins, even if this is called several times."""
        self._waiting[poll] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._window_begun + WINDOW_SECONDS, self._poll)

    def forget(self, poll: Callable[[], None]) -> None:
        """Do not call `poll` any more."""
        self._waiting.pop(poll, None)

    def close(self) -> None:
        """Poll nothing more: the guest is gone, or the agent ends."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _poll(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        for poll in waiting:
            poll()
