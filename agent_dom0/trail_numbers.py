"""Numbers the records of the audit trail, so that a loss shows.

The last number is kept in the runtime directory, which is memory that ends with the machine's boot.
So the next agent goes on with it, and what is missing at an agent's death shows too. A new row of
numbers, with an id of its own, begins only if there is nothing to go on with.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import mmap
import os
import struct
import uuid
from pathlib import Path

log = logging.getLogger("xensnd-dom0")

_MAGIC = b"xensndn1"
# The id of the row, a digest of where the trail is, and the last number that was taken.
_RECORD = struct.Struct("<8s16s16sQ")
_LAST_AT = _RECORD.size - 8


class TrailNumbers:
    """`instance` is the id of the row. Without `memory` the row ends with this object."""

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        octets = memory if memory is not None else bytearray(_new_row(b""))
        self.instance = octets[8:24].hex()
        self._last = ctypes.c_uint64.from_buffer(octets, _LAST_AT)

    def take(self) -> int:
        """Return the next number: 1 is the first of a row."""
        # Before the record is written, so that no number is used twice, whatever ends the agent.
        self._last.value += 1
        return int(self._last.value)


def open_numbers(path: Path, where: str) -> TrailNumbers:
    """Go on with the row in this file, if it is of the same trail."""
    whose = hashlib.blake2s(where.encode(), digest_size=16).digest()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            record = os.pread(descriptor, _RECORD.size, 0)
            if len(record) < _RECORD.size or _RECORD.unpack(record)[::2] != (_MAGIC, whose):
                # Written, not only made longer: a full disk must be an error here, and not a
                # signal when the memory is used.
                os.pwrite(descriptor, _new_row(whose), 0)
            return TrailNumbers(mmap.mmap(descriptor, _RECORD.size))
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        log.warning("%s: %s; the next agent begins new numbers in the trail", path, error)
        return TrailNumbers()


def _new_row(whose: bytes) -> bytes:
    return _RECORD.pack(_MAGIC, uuid.uuid4().bytes, whose, 0)
