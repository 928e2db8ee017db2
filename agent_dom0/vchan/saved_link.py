"""The saved state of a guest's two vchans: what the guest had offered, since it removes its offer
once a client has come; what it does with its sound, since a control word is said once; the person's
answers; and, kept there by the core, what was given to the audio server last.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from agent_dom0.engines.interface import SavedPlace
from agent_dom0.streams.saved_record import OWNER, AnswerPlace, SavedRecord
from xensnd.control.answers import Answer
from xensnd.core import VCHAN_GIVEN_OCTETS
from xensnd.sndif.store_fields import Direction
from xensnd.vchan.control import GuestSound
from xensnd.vchan.nodes import PORTS, VchanOffer

_MAGIC = b"xensndv1"
_OFFERS = struct.Struct(f"<{OWNER}4I")  # for each port, the page and the event channel
_PLAYS_AT, _RECORDS_AT = 72, 73
_ANSWERS = {
    Direction.PLAYBACK: AnswerPlace(answer=74, name=76),
    Direction.CAPTURE: AnswerPlace(answer=75, name=80),
}
_GIVEN_AT = 128

Offers = Mapping[int, VchanOffer]  # by their port


class SavedLink(SavedRecord):
    def __init__(self, path: Path, owner: str, name: Callable[[], str]) -> None:
        super().__init__(
            path,
            owner,
            name,
            magic=_MAGIC,
            layout=_OFFERS,
            core_at=_GIVEN_AT,
            core_octets=VCHAN_GIVEN_OCTETS,
        )

    @property
    def given_place(self) -> SavedPlace:
        """Where the core keeps what was given to the audio server last."""
        return SavedPlace(self.path, _GIVEN_AT, self._core_address)

    def save(self, offers: Offers) -> None:
        """Save what was connected anew."""
        self.clear()
        self._write(
            *(n for port in PORTS for n in (offers[port].ring_ref, offers[port].event_channel))
        )

    def load(self) -> dict[int, VchanOffer] | None:
        """Return what was connected; None: nothing of this owner."""
        numbers = self._read()
        if numbers is None:
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
        self._write_answer(_ANSWERS[direction], answer)

    def answer(self, direction: Direction) -> Answer | None:
        return self._read_answer(_ANSWERS[direction])

    def clear(self) -> None:
        self._erase()
        for direction in Direction:
            self.save_answer(direction, None)
