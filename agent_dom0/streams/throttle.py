"""Limits what one guest makes the agent do in a second: its control requests (OPEN, TRIGGER,
HW_PARAM_QUERY and so on), what XenStore tells of its nodes, and how often its cards connect.

All devices of a guest share its throttles. While they wait there is one timer for each throttle,
which polls only that guest's devices. Other guests never wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xensnd.core import CONTROL_REQUESTS_A_SECOND, OPEN_COUNTS_AS, USUAL_PERCENT
from xensnd.sndif.packets import Operation, peek_request

# READ and WRITE do not count here. ALSA sends some hundred queries when a stream is opened, and a
# desktop opens two. An OPEN maps a buffer, which takes some milliseconds, so 25 of them are a
# second's share (OPEN_COUNTS_AS). The core counts all of them too: it serves START and STOP by
# itself as long as the guest is within this limit.
REQUESTS_A_SECOND = CONTROL_REQUESTS_A_SECOND

# A frontend writes its state about five times until it is connected.
STORE_EVENTS_A_SECOND = 100

# A driver that is loaded again, or a program that plays a short sound, connects once. A guest that
# starts may do so a few times in a row.
CONNECTIONS_A_SECOND = 1
CONNECTIONS_AT_ONCE = 8

WAIT_SECONDS = 1.0

# A guest that keeps within the limit for so long is told of anew when it next exceeds it.
QUIET_SECONDS = 60.0

# A timer may be early by the resolution of the clock: what it then lacks, in tokens.
_EARLY_TIMER = 1e-3


def cost_of(packet: bytes) -> int:
    """Return as how many requests this one counts."""
    return OPEN_COUNTS_AS if peek_request(packet)[1] == Operation.OPEN else 1


class Throttle:
    """A token bucket: admits `a_second` in the long run, and `at_once` after a pause.

    `exceeds_anew`: what was refused last is the first in QUIET_SECONDS, so it is to be audited.
    """

    def __init__(self, a_second: int = REQUESTS_A_SECOND, at_once: int | None = None) -> None:
        self.exceeds_anew = False
        self._usual = a_second, a_second if at_once is None else at_once
        self.set_percent(USUAL_PERCENT)
        self._left = 0.0
        self._refilled_at = self._exceeded_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Callable[[], None], None] = {}  # in the order in which they came

    def set_percent(self, percent: int) -> None:
        """Admit so much of the usual from now on."""
        a_second, at_once = self._usual
        self.a_second = a_second * percent / USUAL_PERCENT
        self.at_once = max(at_once * percent // USUAL_PERCENT, 1)

    def admits(self, count: int = 1) -> bool:
        """Return whether so many more are served now. Call it once for all that came at once."""
        now = asyncio.get_running_loop().time()
        refill = (now - self._refilled_at) * self.a_second
        self._left, self._refilled_at = min(self._left + refill, self.at_once), now
        if count <= self._left + _EARLY_TIMER:
            self._left -= count
            return True
        self.exceeds_anew = now - self._exceeded_at >= QUIET_SECONDS
        self._exceeded_at = now
        return False

    def poll_later(self, poll: Callable[[], None]) -> None:
        """Call `poll` once in WAIT_SECONDS, even if this is called several times."""
        self._waiting[poll] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WAIT_SECONDS, self._poll)

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
