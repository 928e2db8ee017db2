"""Replacing a file in one step, by one writer at a time: readers see the old file or the new."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from policy.owners import give_to_owner_of
from xensnd.errors import UsageError
from xensnd.files import replace_file

LOCK_SECONDS = 10.0  # an edit takes some milliseconds
_NEW_FILE_MODE = 0o644


@contextmanager
def locked(path: Path, patience_seconds: float | None = None) -> Iterator[None]:
    """Holds the lock on edits of this file: a hidden file beside it, which others cannot open."""
    lock = path.with_name(f".{path.name}.lock")
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        give_to_owner_of(path.parent, fd)
        _lock(fd, path, LOCK_SECONDS if patience_seconds is None else patience_seconds)
        yield
    finally:
        os.close(fd)


def replace(path: Path, octets: bytes) -> None:
    """Write the file anew, its mode kept, and its owner if we are root. Hold its lock. OSError:
    nothing changed."""
    replace_file(path, octets, prepare=partial(_own_like, path))
    _sync_directory(path.parent)


def _lock(fd: int, path: Path, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"{path}: locked by another program for {patience_seconds:.0f} s"
                raise UsageError(f"{message}; try again") from None
            time.sleep(0.02)


def _own_like(path: Path, fd: int) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        give_to_owner_of(path.parent, fd)
        os.fchmod(fd, _NEW_FILE_MODE)
        return
    if os.geteuid() == 0:
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        message = f"{directory}: changed, but not safe on disk yet: {error.strerror}"
        raise UsageError(message) from None
    finally:
        os.close(fd)
