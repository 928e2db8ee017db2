"""Sample formats: how sndif, XenStore and the audio server name them, and what they hold.

Source: sndif.h, "PCM FORMATS" and XENSND_PCM_FORMAT_*_STR.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.untrusted import member
from xensnd.text import quoted

__all__ = [
    "PLAYABLE",
    "SampleFormat",
    "format_from_wire",
    "format_mask",
    "formats_in_mask",
    "parse_format",
    "require_playable",
]


class SampleFormat(IntEnum):
    """A sample format by its number on the wire: XENSND_PCM_FORMAT_*."""

    S8 = 0
    U8 = 1
    S16_LE = 2
    S16_BE = 3
    U16_LE = 4
    U16_BE = 5
    S24_LE = 6
    S24_BE = 7
    U24_LE = 8
    U24_BE = 9
    S32_LE = 10
    S32_BE = 11
    U32_LE = 12
    U32_BE = 13
    F32_LE = 14
    F32_BE = 15
    F64_LE = 16
    F64_BE = 17
    IEC958_SUBFRAME_LE = 18
    IEC958_SUBFRAME_BE = 19
    MU_LAW = 20
    A_LAW = 21
    IMA_ADPCM = 22
    MPEG = 23
    GSM = 24

    @property
    def wire_name(self) -> str:
        """Its spelling in XenStore: XENSND_PCM_FORMAT_*_STR."""
        return _TRAITS[self].wire_name

    @property
    def sample_octets(self) -> int | None:
        """Octets of one sample in memory, as ALSA keeps it (24 bits take 4 octets).

        None where a sample has no octets of its own: IMA ADPCM, MPEG, GSM.
        """
        return len(self.silence) or None

    def frame_octets(self, channels: int) -> int:
        """Octets of a frame, one sample of each channel. A sample that has no octets of its own
        counts as one."""
        return channels * (self.sample_octets or 1)

    @property
    def pulse_name(self) -> str | None:
        """PulseAudio's name for it, or None if the audio server cannot take it."""
        return _TRAITS[self].pulse_name

    @property
    def silence(self) -> bytes:
        """One sample of silence; no octets where `sample_octets` is None."""
        return _TRAITS[self].silence


@dataclass(frozen=True, slots=True)
class _Traits:
    wire_name: str
    silence: bytes
    pulse_name: str | None = None


_TRAITS = {
    SampleFormat.S8: _Traits("s8", bytes(1)),
    SampleFormat.U8: _Traits("u8", b"\x80", "u8"),
    SampleFormat.S16_LE: _Traits("s16_le", bytes(2), "s16le"),
    SampleFormat.S16_BE: _Traits("s16_be", bytes(2), "s16be"),
    SampleFormat.U16_LE: _Traits("u16_le", b"\x00\x80"),
    SampleFormat.U16_BE: _Traits("u16_be", b"\x80\x00"),
    SampleFormat.S24_LE: _Traits("s24_le", bytes(4), "s24-32le"),
    SampleFormat.S24_BE: _Traits("s24_be", bytes(4), "s24-32be"),
    SampleFormat.U24_LE: _Traits("u24_le", b"\x00\x00\x80\x00"),
    SampleFormat.U24_BE: _Traits("u24_be", b"\x00\x80\x00\x00"),
    SampleFormat.S32_LE: _Traits("s32_le", bytes(4), "s32le"),
    SampleFormat.S32_BE: _Traits("s32_be", bytes(4), "s32be"),
    SampleFormat.U32_LE: _Traits("u32_le", b"\x00\x00\x00\x80"),
    SampleFormat.U32_BE: _Traits("u32_be", b"\x80\x00\x00\x00"),
    SampleFormat.F32_LE: _Traits("float_le", bytes(4), "float32le"),
    SampleFormat.F32_BE: _Traits("float_be", bytes(4), "float32be"),
    SampleFormat.F64_LE: _Traits("float64_le", bytes(8)),
    SampleFormat.F64_BE: _Traits("float64_be", bytes(8)),
    SampleFormat.IEC958_SUBFRAME_LE: _Traits("iec958_subframe_le", bytes(4)),
    SampleFormat.IEC958_SUBFRAME_BE: _Traits("iec958_subframe_be", bytes(4)),
    SampleFormat.MU_LAW: _Traits("mu_law", b"\xff", "ulaw"),
    SampleFormat.A_LAW: _Traits("a_law", b"\xd5", "alaw"),
    SampleFormat.IMA_ADPCM: _Traits("ima_adpcm", b""),
    SampleFormat.MPEG: _Traits("mpeg", b""),
    SampleFormat.GSM: _Traits("gsm", b""),
}

# libxl writes these four its own way; the stock Linux driver ignores them, we need not.
_BY_NAME = {traits.wire_name: sample_format for sample_format, traits in _TRAITS.items()} | {
    "f32_le": SampleFormat.F32_LE,
    "f32_be": SampleFormat.F32_BE,
    "f64_le": SampleFormat.F64_LE,
    "f64_be": SampleFormat.F64_BE,
}

PLAYABLE = tuple(sample_format for sample_format in SampleFormat if sample_format.pulse_name)
"""The formats that the audio server takes."""


def parse_format(text: str) -> SampleFormat:
    """The format that XenStore spells `text`, in sndif's spelling or libxl's, in either case."""
    # The cut keeps lower() and difflib from a peer's long text; no name is that long.
    name = text[:40].lower()
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = difflib.get_close_matches(name, _BY_NAME, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise RemoteProtocolError(f"unknown sample format {quoted(text)}{hint}")


def format_from_wire(value: int) -> SampleFormat:
    return member(SampleFormat, value, "sample format")


def format_mask(formats: Iterable[SampleFormat]) -> int:
    """Bit n stands for format n, as in XENSND_OP_HW_PARAM_QUERY."""
    mask = 0
    for sample_format in formats:
        mask |= 1 << sample_format
    return mask


def formats_in_mask(mask: int) -> tuple[SampleFormat, ...]:
    """The formats of a mask in the order of their numbers; bits without a format are ignored."""
    return tuple(sample_format for sample_format in SampleFormat if mask >> sample_format & 1)


def require_playable(sample_format: SampleFormat) -> None:
    """Raise RemoteProtocolError if the audio server cannot take `sample_format`."""
    if sample_format.pulse_name is None:
        able = ", ".join(each.wire_name for each in PLAYABLE)
        raise RemoteProtocolError(
            f"format {sample_format.wire_name} cannot be played: the audio server takes {able}"
        )
