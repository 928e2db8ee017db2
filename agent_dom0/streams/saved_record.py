"""A record of what a guest has open, which the next agent needs to go on with it.

It is one small file in the runtime directory, which is in memory. The core keeps its own part
there too, so that it is up to date even if the agent dies. Only the agent writes it; it is checked
all the same before it is used.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xensnd.control.answers import Answer

_CRC = struct.Struct("<I")
_ANSWERS = tuple(Answer)
OWNER = "36s"  # how the owner stands in the record's layout, before all else


class AnswerPlace(NamedTuple):
    """Where a person's answer is, in octets from the record's beginning."""

    answer: int  # one octet, written in one go: the answer's place among all, 0 for none
    name: int  # the check sum of the guest's name, of which it was given


class SavedRecord:
    """`owner` identifies the guest, such as its UUID; a record of another owner is not loaded.
    `name` returns the guest's present name; an answer about another name does not count.

    `magic` also stands for the layout of the core's part, which begins at `core_at`.
    """

    def __init__(
        self,
        path: Path,
        owner: str,
        name: Callable[[], str],
        *,
        magic: bytes,
        layout: struct.Struct,
        core_at: int,
        core_octets: int,
    ) -> None:
        self.path = path
        self._owner = owner.encode()[:36]
        self._name = name
        self._magic = magic
        self._layout = layout
        self._core_at = core_at
        octets = core_at + core_octets
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, octets)
            self._memory = mmap.mmap(descriptor, octets)
        finally:
            os.close(descriptor)
        self._anchor: ctypes.c_char | None = ctypes.c_char.from_buffer(self._memory)

    @property
    def _core_address(self) -> int:
        return ctypes.addressof(self._anchor) + self._core_at if self._anchor is not None else 0

    def _write(self, *values: object) -> None:
        packed = self._layout.pack(self._owner, *values)
        # Erased first, so that an agent that dies in between leaves nothing, and not a half.
        self._erase()
        body = packed + _CRC.pack(zlib.crc32(packed))
        self._memory[len(self._magic) : len(self._magic) + len(body)] = body
        self._memory[: len(self._magic)] = self._magic

    def _read(self) -> tuple[Any, ...] | None:
        """Return the values; None: there are none of this owner."""
        end = len(self._magic) + self._layout.size
        packed = self._memory[len(self._magic) : end]
        (crc,) = _CRC.unpack_from(self._memory, end)
        if self._memory[: len(self._magic)] != self._magic or zlib.crc32(packed) != crc:
            return None
        owner, *values = self._layout.unpack(packed)
        return tuple(values) if owner.rstrip(b"\0") == self._owner else None

    def _erase(self) -> None:
        self._memory[: len(self._magic)] = bytes(len(self._magic))

    def _write_answer(self, place: AnswerPlace, answer: Answer | None) -> None:
        self._memory[place.answer] = 0  # an agent that dies in between leaves no answer
        _CRC.pack_into(self._memory, place.name, self._name_crc)
        self._memory[place.answer] = 0 if answer is None else 1 + _ANSWERS.index(answer)

    def _read_answer(self, place: AnswerPlace) -> Answer | None:
        answer = self._memory[place.answer]
        is_of_name = _CRC.unpack_from(self._memory, place.name) == (self._name_crc,)
        return _ANSWERS[answer - 1] if is_of_name and 0 < answer <= len(_ANSWERS) else None

    @property
    def _name_crc(self) -> int:
        return zlib.crc32(self._name().encode())

    def close(self) -> None:
        """Unmap the file, which the core no longer uses. It stays for the next agent."""
        self._anchor = None
        self._memory.close()

    def remove(self) -> None:
        """Remove the file, as what it describes has gone."""
        self.path.unlink(missing_ok=True)
