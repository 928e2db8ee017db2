"""Failures that end only one device: no resources are left, XenStore refuses, or a guest writes
endlessly. And how such a device is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xensnd.backoff import BackOff
from xensnd.errors import LimitReached, RemoteProtocolError
from xensnd.transport.interface import TransactionConflict

RETRY_FIRST_SECONDS = 0.5
RETRY_LAST_SECONDS = 30.0

FAILURES = (OSError, MemoryError, LimitReached, RemoteProtocolError, TransactionConflict)


def kind_of(failure: BaseException) -> object:
    """Return a key that is equal for failures of one kind: only the first one is audited."""
    if isinstance(failure, LimitReached):
        return LimitReached
    return failure.errno if isinstance(failure, OSError) else str(failure)


class Recovery:
    """Tries a device again after a failure, each time later, until it works. `tell` audits a
    failure, which is done for the first one of its kind alone."""

    def __init__(self, tell: Callable[[BaseException], None], again: Callable[[], None]) -> None:
        self._tell = tell
        self._again = again
        self._kind: object = None  # of the last failure, until the device works
        self._timer: asyncio.TimerHandle | None = None
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)

    def note_success(self) -> None:
        self._kind = None
        self._back_off.reset()

    def note_failure(self, failure: BaseException) -> None:
        if kind_of(failure) != self._kind:
            self._kind = kind_of(failure)
            self._tell(failure)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._back_off.next_seconds(), self._try_again)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _try_again(self) -> None:
        self._timer = None
        self._again()
