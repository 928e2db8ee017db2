"""Volume and mute as a guest asks for them, channel by channel: sndif.h, SET_VOLUME to UNMUTE.

The mixer has one volume a channel and one mute a stream; a person turns the same knobs. So the
guest's volume of a channel it has muted is remembered here, everything else is asked there.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent_dom0.audio.guest_volume import Knobs, percent_of
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

    def __init__(self, core: BackendStream, channels: int, knobs: Knobs) -> None:
        self._core = core
        self._knobs = knobs
        self._cap: int | None = None
        self._milli_db = (0,) * channels
        self._muted = (False,) * channels
        self._is_set = False  # by somebody; before, the mixer's memory holds

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
        self._core.set_volume_cap(self._cap)
        if self._is_set or self._knobs.milli_db is not None:
            self._apply()
        elif self._knobs.is_muted:
            self._core.set_mute(True)

    def set_cap(self, percent: int | None) -> None:
        """Policy's: nobody turns it up any further."""
        self._cap = percent
        self._core.set_volume_cap(percent)

    def turned(self) -> None:
        """A person has turned the knobs: the volume is theirs until the guest wants less."""
        if self._knobs.milli_db is not None:
            self._milli_db = (self._knobs.milli_db,) * len(self._muted)
            self._is_set = True
            self._apply()
        self._core.set_mute(self._knobs.is_muted or all(self._muted))

    @property
    def shown(self) -> tuple[int | None, bool]:
        """As mixers show it: the loudest channel in percent, if it is known, and whether it is
        muted. While the stream is not at the audio server, what a person has set for it."""
        channels = self._core.volume(len(self._muted))
        if channels is None:
            return self._knobs.percent, self._knobs.is_muted or all(self._muted)
        return percent_of(max(channels)), self._core.is_muted

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
        self._is_set = True
        self._apply()

    def _apply(self) -> None:
        """A guest is never louder than a person has set it, nor heard while they mute it."""
        most = self._knobs.milli_db
        volumes = [value if most is None else min(value, most) for value in self._milli_db]
        self._core.set_volume(volumes, [self._knobs.is_muted or muted for muted in self._muted])
