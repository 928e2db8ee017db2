"""The saved state of an open stream, which the next agent needs to take it over.

It is one small file for each stream in the runtime directory, which is in memory. It contains the
parameters of OPEN, the person's answer about the stream, and the positions, which the core keeps
only there. So it is always up to date, even if the agent dies. Only the agent writes it; it is
checked all the same before it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from xensnd.control.answers import Answer
from xensnd.core import PCM_STATE_OCTETS
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import format_from_wire
from xensnd.sndif.packets import Open

_MAGIC = b"xensnd-2"  # also the layout of the core's positions
_OPEN = struct.Struct("<36s?3xIB3xBxxxIII")
_ANSWER_AT = 120  # one octet, written in one go: the answer's place among all, 0 for none
_NAME_AT = 124  # the check sum of the guest's name, of which the answer was given
_CRC = struct.Struct("<I")
_PCM_AT = 128
_ANSWERS = tuple(Answer)
_OCTETS = _PCM_AT + PCM_STATE_OCTETS


class SavedState:
    """`owner` identifies the guest, such as its UUID; a stream of another owner is not adopted.

    `name` returns the guest's present name; an answer about another name does not count.
    """

    def __init__(self, path: Path, owner: str, name: Callable[[], str]) -> None:
        self.path = path
        self._owner = owner.encode()[:36]
        self._name = name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, _OCTETS)
            self._memory = mmap.mmap(descriptor, _OCTETS)
        finally:
            os.close(descriptor)
        self._anchor: ctypes.c_char | None = ctypes.c_char.from_buffer(self._memory)

    @property
    def pcm_address(self) -> int:
        """Where the core keeps the positions."""
        return ctypes.addressof(self._anchor) + _PCM_AT if self._anchor is not None else 0

    @property
    def pcm_offset(self) -> int:
        """Where that is in the file."""
        return _PCM_AT

    def save(self, request: Open, *, running: bool) -> None:
        packed = _OPEN.pack(
            self._owner,
            running,
            request.rate_hz,
            request.sample_format,
            request.channels,
            request.buffer_octets,
            request.period_octets,
            request.directory_ref,
        )
        # Cleared first, so that an agent that dies in between leaves nothing, and not a half.
        self._memory[: len(_MAGIC)] = bytes(len(_MAGIC))
        body = packed + _CRC.pack(zlib.crc32(packed))
        self._memory[len(_MAGIC) : len(_MAGIC) + len(body)] = body
        self._memory[: len(_MAGIC)] = _MAGIC

    def save_answer(self, answer: Answer | None) -> None:
        """Save the person's answer about the open stream."""
        self._memory[_ANSWER_AT] = 0  # an agent that dies in between leaves no answer
        _CRC.pack_into(self._memory, _NAME_AT, self._name_crc)
        self._memory[_ANSWER_AT] = 0 if answer is None else 1 + _ANSWERS.index(answer)

    def load(self) -> tuple[Open, bool, Answer | None] | None:
        """Return the open stream, whether it runs, and the person's answer about it; None if there
        is no open stream of this owner."""
        packed = self._memory[len(_MAGIC) : len(_MAGIC) + _OPEN.size]
        (crc,) = _CRC.unpack_from(self._memory, len(_MAGIC) + _OPEN.size)
        if self._memory[: len(_MAGIC)] != _MAGIC or zlib.crc32(packed) != crc:
            return None
        owner, running, rate_hz, wire_format, channels, buffer, period, ref = _OPEN.unpack(packed)
        if owner.rstrip(b"\0") != self._owner:
            return None
        with contextlib.suppress(RemoteProtocolError):
            sample_format = format_from_wire(wire_format)
            request = Open(rate_hz, sample_format, channels, buffer, period, ref)
            answer = self._memory[_ANSWER_AT]
            is_of_name = _CRC.unpack_from(self._memory, _NAME_AT) == (self._name_crc,)
            if not is_of_name or not 0 < answer <= len(_ANSWERS):
                return request, running, None
            return request, running, _ANSWERS[answer - 1]
        return None

    @property
    def _name_crc(self) -> int:
        return zlib.crc32(self._name().encode())

    def clear(self) -> None:
        self.save_answer(None)
        self._memory[: len(_MAGIC)] = bytes(len(_MAGIC))

    def close(self) -> None:
        """Unmap the file, which the core no longer uses. It stays for the next agent."""
        self._anchor = None
        self._memory.close()

    def remove(self) -> None:
        """Remove the file, as the stream has gone."""
        self.path.unlink(missing_ok=True)
