"""One process at a time: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from xensnd.errors import UsageError

__all__ = ["only_one"]


def only_one(path: Path, otherwise: str) -> int:
    """A descriptor that holds the lock while it is open. UsageError if another process has it:
    `otherwise`, in which `{pid}` is that process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; run as the user who may write there") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise UsageError(otherwise.format(pid=pid or "?")) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
