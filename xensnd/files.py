"""Replacing a file so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(
    path: Path,
    octets: bytes,
    *,
    prepare: Callable[[int], None] = lambda _fd: None,
    is_synced: bool = True,
) -> None:
    """Write the file anew: all of it, or, with any exception, nothing.

    `prepare` gets the new file's descriptor, to give it an owner and a mode; without it, only its
    owner may read it. `is_synced`: the new content is on disk before it takes the old one's place.
    There may be one writer at a time.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # of a writer that was killed
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            prepare(fd)
            file.write(octets)
            file.flush()
            if is_synced:
                os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
