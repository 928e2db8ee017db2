"""Watches the policy directories with inotify(7)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from xensnd.errors import UsageError

_IN_ATTRIB = 0x4
_IN_CLOSE_WRITE = 0x8
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_MASK_ADD = 0x20000000
_INTERESTING = (
    _IN_ATTRIB
    | _IN_CLOSE_WRITE
    | _IN_MOVED_FROM
    | _IN_MOVED_TO
    | _IN_CREATE
    | _IN_DELETE
    | _IN_DELETE_SELF
    | _IN_MOVE_SELF
)

# Changes that replace a file of a directory. Writing to another file there is not noticed.
_REPLACED = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE

_libc = ctypes.CDLL(None, use_errno=True)


def new_inotify() -> int:
    """Return a descriptor for DirectoryWatch, which one agent after the other may use.

    Whoever closes the last copy of it waits for the kernel to remove its watches: for up to 20 ms,
    and for longer if processors are busy. An agent that has died must not: the next one waits for
    its end. So the supervisor has a copy. UsageError: the system has no more of them.
    """
    fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise UsageError(
            f"the policy's files cannot be watched: {os.strerror(ctypes.get_errno())}; see"
            " fs.inotify.max_user_instances in sysctl(8), and the limit of open files"
        )
    return fd


class DirectoryWatch:
    """A descriptor that is readable when something in one of the directories has changed.

    For a directory that does not exist, its nearest existing parent is watched. `file` is one more
    file elsewhere, which need not exist. `inotify` is one of new_inotify(). What an earlier agent
    has not read of it is dropped, so the caller reads the files after this.
    """

    def __init__(self, directories: Iterable[Path], file: Path, inotify: int) -> None:
        self._directories = tuple(directories)
        self._file = file
        self._fd = inotify
        self.clear()
        self.rearm()

    def fileno(self) -> int:
        return self._fd

    def clear(self) -> None:
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            pass

    def rearm(self) -> None:
        """Watch directories that have appeared. Existing watches stay."""
        for directory in self._directories:
            for path in (directory, *directory.absolute().parents):
                if self._add(path, _INTERESTING):
                    break
        self._add(self._file, _INTERESTING)
        self._add(self._file.parent, _REPLACED | _IN_MASK_ADD)

    def _add(self, path: Path, mask: int) -> bool:
        if _libc.inotify_add_watch(self._fd, os.fsencode(path), mask) >= 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return False
        raise OSError(code, os.strerror(code), str(path))
