"""Trying again after a failure, less and less often."""

from __future__ import annotations

import asyncio

__all__ = ["BackOff"]


class BackOff:
    """The delays between tries: `first_seconds`, then twice as long each time, at most
    `last_seconds`."""

    def __init__(self, first_seconds: float, last_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._last_seconds = last_seconds
        self._next_seconds = first_seconds
        self._has_failed = False

    @property
    def has_failed(self) -> bool:
        """Whether a try has failed since the last success."""
        return self._has_failed

    def next_seconds(self) -> float:
        """Count a failure. Returns the delay until the next try."""
        seconds = self._next_seconds
        self._next_seconds = min(seconds * 2, self._last_seconds)
        self._has_failed = True
        return seconds

    async def wait(self) -> None:
        """Count a failure, and sleep until the next try."""
        await asyncio.sleep(self.next_seconds())

    def reset(self) -> None:
        """Count a success: the next delay is the first one again."""
        self._next_seconds = self._first_seconds
        self._has_failed = False
