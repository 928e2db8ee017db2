"""Volume and mute of one open stream: what the guest, a person and policy want, channel by channel.

A guest sets volumes in 0.001 dB, and mutes single channels (sndif.h, SET_VOLUME to UNMUTE). The
audio server has one volume for each channel, on a cubic scale, and one mute for each stream. A
person can change both. So the volume of a channel that the guest has muted is kept here. For
everything else, the server's value counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from agent_dom0.audio.guest_volume import SILENCE_MILLI_DB, GuestVolume
from agent_dom0.audio.mixer import MixerState, MixerStream
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


def volume_of(milli_db: int) -> float:
    """Return it on the server's cubic scale: 1 for 0 dB, 0 for silence."""
    return 0.0 if milli_db <= SILENCE_MILLI_DB else float(10 ** (milli_db / 60_000))


def milli_db_of(volume: float) -> int:
    if volume <= 0:
        return SILENCE_MILLI_DB
    return max(round(60_000 * math.log10(volume)), SILENCE_MILLI_DB)


class StreamVolume:
    """The volume of one open PCM. `settings` is what a person has set for the guest.

    `peek` and `poke` read and write the PCM's buffer, which the guest shares."""

    def __init__(
        self,
        channels: int,
        settings: GuestVolume,
        peek: Callable[[int, int], bytes],
        poke: Callable[[int, bytes], None],
    ) -> None:
        self._settings = settings
        self._peek = peek
        self._poke = poke
        self._cap: float | None = None
        self._milli_db = (0,) * channels
        self._muted = (False,) * channels
        self._is_set = False  # until then the server uses the volume that it remembers
        self._mute_is_set = False
        self._stream: MixerStream | None = None
        # What the server has, or will have when it has done what was ordered last.
        self._volume: tuple[float, ...] | None = None  # None: not known
        self._is_muted = False

    def serve(self, request: Span) -> None:
        """Serve a volume request. RemoteProtocolError: its values are not in the buffer."""
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
                self._poke(offset, encode_volumes(self._current())[:octets])

    # At the audio server

    @property
    def wanted_volume(self) -> tuple[float, ...] | None:
        """One value for each channel, or None: nobody has set one, and the server uses the volume
        that it remembers. A guest is never louder than a person has set. If some channels are
        muted, their volume is 0."""
        if not self._is_set and self._settings.milli_db is None:
            return None
        most = self._settings.milli_db
        volume = [volume_of(v if most is None else min(v, most)) for v in self._milli_db]
        if not self._is_all_muted:
            volume = [0.0 if m else v for v, m in zip(volume, self._muted, strict=True)]
        return tuple(v if self._cap is None else min(v, self._cap) for v in volume)

    @property
    def wanted_mute(self) -> bool | None:
        """Return the mute; None: nothing here sets it, and a mute that a person has set in a mixer
        stays."""
        if self._mute_is_set or self._settings.is_muted or any(self._muted):
            return self._is_all_muted
        return None

    def attach(self, stream: MixerStream) -> None:
        """Begin to control the stream at the audio server, which may be a new one."""
        self._stream = stream
        stream.set_cap(self._cap)
        self._order()

    def detach(self) -> None:
        """Forget the stream, which has gone from the audio server."""
        self._stream = self._volume = None

    def update(self, state: MixerState) -> None:
        """Keep what the server has now, whoever changed it."""
        self._volume = state.volume
        self._is_muted = state.is_muted

    def set_cap(self, percent: int | None) -> None:
        """Set the policy's cap: no volume is higher, whoever sets it."""
        self._cap = None if percent is None else percent / 100
        if self._stream is not None:
            self._stream.set_cap(self._cap)

    def apply_settings(self) -> None:
        """Applies what a person has set: it holds until the guest sets a lower volume."""
        if self._settings.milli_db is not None:
            self._milli_db = (self._settings.milli_db,) * len(self._muted)
            self._is_set = True
        self._mute_is_set = True
        self._order()

    @property
    def shown(self) -> tuple[int | None, bool]:
        """Return it as mixers show it: the loudest channel in percent, if it is known, and whether
        it is muted. While the stream is not at the audio server, what a person has set for it."""
        if not self._volume:
            return self._settings.percent, self._is_all_muted
        return round(100 * max(self._volume)), self._is_muted

    @property
    def _is_all_muted(self) -> bool:
        return self._settings.is_muted or all(self._muted)

    def _values(self, offset: int, octets: int, octets_each: int) -> bytes:
        """Return the request's values from the buffer, at most what its channels need."""
        return self._peek(offset, min(octets, len(self._muted) * octets_each))

    def _current(self) -> tuple[int, ...]:
        if self._volume is None or len(self._volume) != len(self._muted):
            return self._milli_db
        actual = map(milli_db_of, self._volume)
        return tuple(
            mine if muted else theirs
            for mine, muted, theirs in zip(self._milli_db, self._muted, actual, strict=True)
        )

    def _set(self, milli_db: Sequence[int], muted: Sequence[bool]) -> None:
        self._milli_db = tuple(min(value, 0) for value in milli_db)
        self._muted = tuple(muted)
        self._is_set = True
        self._mute_is_set = self._mute_is_set or any(muted)
        self._order()

    def _order(self) -> None:
        if self._stream is None:
            return
        volume, muted = self.wanted_volume, self.wanted_mute
        if volume is not None:
            self._stream.set_volume(volume)
            self._volume = volume
        if muted is not None:
            self._stream.set_mute(muted)
            self._is_muted = muted
