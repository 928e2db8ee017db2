"""Failures that end only one device: no resources are left, XenStore refuses, or a guest writes
endlessly."""

from __future__ import annotations

from xensnd.errors import LimitReached, RemoteProtocolError
from xensnd.transport.interface import TransactionConflict

FAILURES = (OSError, MemoryError, LimitReached, RemoteProtocolError, TransactionConflict)


def kind_of(failure: BaseException) -> object:
    """Return a key that is equal for failures of one kind: only the first one is audited."""
    if isinstance(failure, LimitReached):
        return LimitReached
    return failure.errno if isinstance(failure, OSError) else str(failure)
