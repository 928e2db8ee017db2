"""How long a guest's devices stay closed that were closed for what the guest has done."""

from __future__ import annotations

import asyncio

# A driver with a fault connects again a few times, and is let in. Who goes on stays closed for a
# growing time. The throttle of connections holds up a guest that is in a hurry before that.
FREE_CLOSURES = 16
CLOSED_FIRST_SECONDS = 2.0
CLOSED_LAST_SECONDS = 128.0

# A guest that was not closed for so long is let in at once again.
FORGOTTEN_SECONDS = 600.0


class Closures:
    """Those of all devices of one guest."""

    def __init__(self) -> None:
        self._count = 0
        self._last_at = self._until = float("-inf")

    def add(self) -> float:
        """Count one. Returns for how many seconds no device may connect; 0: it may at once."""
        now = asyncio.get_running_loop().time()
        if now - self._last_at >= FORGOTTEN_SECONDS:
            self._count = 0
        self._count += 1
        self._last_at = now
        beyond = self._count - FREE_CLOSURES
        if beyond <= 0:
            return 0.0
        seconds = min(CLOSED_FIRST_SECONDS * 2.0 ** min(beyond - 1, 32), CLOSED_LAST_SECONDS)
        self._until = now + seconds
        return seconds

    @property
    def are_over(self) -> bool:
        """Whether a device may connect now."""
        return asyncio.get_running_loop().time() >= self._until
