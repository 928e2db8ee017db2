"""The saved state of a guest's two vchans, which the next agent needs to take them over.

It is one small file for each guest in the runtime directory, which is in memory. It says what the
guest had offered, since the guest removes its offer once a client has come; what it does with its
sound, since a control word is said once; the person's answers; and, kept there by the core, what
was given to the audio server last. Only the agent writes it; it is checked all the same before it
is used.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from xensnd.control.answers import Answer
from xensnd.core import VCHAN_GIVEN_OCTETS
from xensnd.sndif.store_fields import Direction
from xensnd.vchan.control import GuestSound
from xensnd.vchan.nodes import PORTS, VchanOffer

_MAGIC = b"xensndv1"  # also the layout of what the core keeps
_OFFERS = struct.Struct("<36s4I")  # the owner; for each port, the page and the event channel
_CRC = struct.Struct("<I")
_PLAYS_AT, _RECORDS_AT = 72, 73
# For each direction, one octet, written in one go: the answer's place among all, 0 for none; and
# the check sum of the guest's name, of which it was given.
_ANSWERS_AT = {Direction.PLAYBACK: (74, 76), Direction.CAPTURE: (75, 80)}
_GIVEN_AT = 128
_ANSWERS = tuple(Answer)
_OCTETS = _GIVEN_AT + VCHAN_GIVEN_OCTETS

Offers = Mapping[int, VchanOffer]  # by their port


class SavedLink:
    """`owner` identifies the guest, such as its UUID; vchans of another owner are not adopted.

    `name` returns the guest's present name; an answer about another name does not count.
    """

    def __init__(self, path: Path, owner: str, name: Callable[[], str]) -> None:
        self._path = path
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
    def given_address(self) -> int:
        """Where the core keeps what was given to the audio server last."""
        return ctypes.addressof(self._anchor) + _GIVEN_AT if self._anchor is not None else 0

    def save(self, offers: Offers) -> None:
        """Save what was connected anew."""
        numbers = [n for port in PORTS for n in (offers[port].ring_ref, offers[port].event_channel)]
        packed = _OFFERS.pack(self._owner, *numbers)
        self.clear()
        body = packed + _CRC.pack(zlib.crc32(packed))
        self._memory[len(_MAGIC) : len(_MAGIC) + len(body)] = body
        self._memory[: len(_MAGIC)] = _MAGIC

    def load(self) -> dict[int, VchanOffer] | None:
        """Return what was connected; None: nothing of this owner."""
        packed = self._memory[len(_MAGIC) : len(_MAGIC) + _OFFERS.size]
        (crc,) = _CRC.unpack_from(self._memory, len(_MAGIC) + _OFFERS.size)
        if self._memory[: len(_MAGIC)] != _MAGIC or zlib.crc32(packed) != crc:
            return None
        owner, *numbers = _OFFERS.unpack(packed)
        if owner.rstrip(b"\0") != self._owner:
            return None
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return {port: VchanOffer(*pair) for port, pair in zip(PORTS, pairs, strict=True)}

    @property
    def sound(self) -> GuestSound:
        """What the guest does with its sound."""
        return GuestSound(
            plays=bool(self._memory[_PLAYS_AT]), records=bool(self._memory[_RECORDS_AT])
        )

    @sound.setter
    def sound(self, sound: GuestSound) -> None:
        self._memory[_PLAYS_AT] = sound.plays
        self._memory[_RECORDS_AT] = sound.records

    def save_answer(self, direction: Direction, answer: Answer | None) -> None:
        """Save the person's answer about the open stream."""
        answer_at, name_at = _ANSWERS_AT[direction]
        self._memory[answer_at] = 0  # an agent that dies in between leaves no answer
        _CRC.pack_into(self._memory, name_at, self._name_crc)
        self._memory[answer_at] = 0 if answer is None else 1 + _ANSWERS.index(answer)

    def answer(self, direction: Direction) -> Answer | None:
        answer_at, name_at = _ANSWERS_AT[direction]
        answer = self._memory[answer_at]
        is_of_name = _CRC.unpack_from(self._memory, name_at) == (self._name_crc,)
        return _ANSWERS[answer - 1] if is_of_name and 0 < answer <= len(_ANSWERS) else None

    @property
    def _name_crc(self) -> int:
        return zlib.crc32(self._name().encode())

    def clear(self) -> None:
        self._memory[: len(_MAGIC)] = bytes(len(_MAGIC))
        for direction in Direction:
            self.save_answer(direction, None)

    def close(self) -> None:
        """Unmap the file, which the core no longer uses. It stays for the next agent."""
        self._anchor = None
        self._memory.close()

    def remove(self) -> None:
        """Remove the file, as the vchans have gone."""
        self._path.unlink(missing_ok=True)
