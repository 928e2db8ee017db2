"""Volume and mute as a guest asks for them, channel by channel: sndif.h, SET_VOLUME to UNMUTE.

The mixer has one volume a channel and one mute a stream; a person turns the same knobs. So the
guest's volume of a channel it has muted is remembered here, everything else is asked there.
"""

from __future__ import annotations

from collections.abc import Sequence

from xensnd.core import BackendStream
from xensnd.sndif.packets import (
    GetVolume,
    Mute,
    SetVolume,
    Span,
    Unmute,
    decode_mutes,
    decode_volumes,
    encode_volumes,
)


class Loudness:
    """Of one open PCM."""

    def __init__(self, core: BackendStream, channels: int) -> None:
        self._core = core
        self._milli_db = (0,) * channels
        self._muted = (False,) * channels
        self._is_guests = False  # the guest has said something; before, the mixer's memory holds

    def serve(self, request: Span) -> None:
        """RemoteProtocolError if the request's values are not in the buffer."""
        channels = len(self._muted)
        match request:
            case SetVolume(offset, octets):
                self._set(decode_volumes(self._values(offset, octets, 4), channels), self._muted)
            case Mute(offset, octets):
                marked = decode_mutes(self._values(offset, octets, 1), channels)
                now = (a or b for a, b in zip(self._muted, marked, strict=True))
                self._set(self._current(), tuple(now))
            case Unmute(offset, octets):
                marked = decode_mutes(self._values(offset, octets, 1), channels)
                now = (a and not b for a, b in zip(self._muted, marked, strict=True))
                self._set(self._current(), tuple(now))
            case GetVolume(offset, octets):
                self._core.poke(offset, encode_volumes(self._current())[:octets])

    def apply_again(self) -> None:
        """The stream is a new one at the audio server."""
        if self._is_guests:
            self._core.set_volume(self._milli_db, self._muted)

    def _values(self, offset: int, octets: int, octets_each: int) -> bytes:
        """What the request speaks of, and no more than its channels need."""
        return self._core.peek(offset, min(octets, len(self._muted) * octets_each))

    def _current(self) -> tuple[int, ...]:
        actual = self._core.volume(len(self._muted)) or self._milli_db
        return tuple(
            mine if muted else theirs
            for mine, muted, theirs in zip(self._milli_db, self._muted, actual, strict=True)
        )

    def _set(self, milli_db: Sequence[int], muted: Sequence[bool]) -> None:
        self._milli_db = tuple(min(value, 0) for value in milli_db)
        self._muted = tuple(muted)
        self._is_guests = True
        self._core.set_volume(self._milli_db, self._muted)
