"""The control words: what a guest says about its sink and its source, on port 4714.

A word is an integer of 32 bits, least octet first. A guest sends them, and an audio domain never
does. A word that is none of these is ignored, as Qubes' own audio domain ignores it: a newer guest
says something that an older audio domain need not know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

__all__ = ["CONNECTED", "WORD_OCTETS", "ControlWord", "GuestSound"]

WORD_OCTETS = 4


class ControlWord(IntEnum):
    SOURCE_STOP = 0x00010000
    SOURCE_START = 0x00010001
    SINK_CORK = 0x00020000
    SINK_UNCORK = 0x00020001


@dataclass(frozen=True, slots=True)
class GuestSound:
    """What a guest does with its sound, as it has said last."""

    plays: bool
    records: bool

    def after(self, word: int) -> GuestSound:
        """Return what it does after this word."""
        match word:
            case ControlWord.SOURCE_START:
                return replace(self, records=True)
            case ControlWord.SOURCE_STOP:
                return replace(self, records=False)
            case ControlWord.SINK_UNCORK:
                return replace(self, plays=True)
            case ControlWord.SINK_CORK:
                return replace(self, plays=False)
            case _:
                return self


# When both vchans have just been connected.
CONNECTED = GuestSound(plays=True, records=False)
