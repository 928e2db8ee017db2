from __future__ import annotations

import pytest

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import (
    PLAYABLE,
    SampleFormat,
    format_from_wire,
    format_mask,
    formats_in_mask,
    parse_format,
    require_playable,
)
from xensnd.sndif.packets import Open


@pytest.mark.parametrize("sample_format", SampleFormat)
def test_format_is_found_by_its_own_name_and_number(sample_format: SampleFormat) -> None:
    assert parse_format(sample_format.wire_name) is sample_format
    assert format_from_wire(sample_format.value) is sample_format


@pytest.mark.parametrize(
    ("text", "sample_format"),
    [
        ("f32_le", SampleFormat.F32_LE),
        ("f32_be", SampleFormat.F32_BE),
        ("f64_le", SampleFormat.F64_LE),
        ("f64_be", SampleFormat.F64_BE),
        ("S16_LE", SampleFormat.S16_LE),
    ],
)
def test_libxls_spelling_and_capitals_are_understood(
    text: str, sample_format: SampleFormat
) -> None:
    assert parse_format(text) is sample_format


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s16le", "unknown sample format 's16le' (did you mean 's16_le'?)"),
        ("xyzzy", "unknown sample format 'xyzzy'"),
        ("", "unknown sample format ''"),
        ("q" * 1000, f"unknown sample format {'q' * 40!r}..."),
        ("\n\udc80", "unknown sample format '\\n\\udc80'"),
    ],
)
def test_unknown_name_is_the_peers_fault_and_shown_safely(text: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_format(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [-1, 25, 255])
def test_unknown_number_is_the_peers_fault(value: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"unknown sample format {value}, allowed 0 to"):
        format_from_wire(value)


def test_mask_has_a_bit_for_each_format() -> None:
    assert format_mask([SampleFormat.S8, SampleFormat.GSM]) == 1 | 1 << 24
    assert format_mask([SampleFormat.U8, SampleFormat.U8]) == 2


def test_unknown_bits_of_a_mask_are_ignored() -> None:
    assert formats_in_mask(1 << 63 | 1 << 25 | 1 << 2) == (SampleFormat.S16_LE,)
    assert formats_in_mask(2**64 - 1) == tuple(SampleFormat)


def test_formats_pulseaudio_takes_are_playable() -> None:
    assert {each.wire_name: each.pulse_name for each in PLAYABLE} == {
        "u8": "u8",
        "s16_le": "s16le",
        "s16_be": "s16be",
        "s24_le": "s24-32le",
        "s24_be": "s24-32be",
        "s32_le": "s32le",
        "s32_be": "s32be",
        "float_le": "float32le",
        "float_be": "float32be",
        "mu_law": "ulaw",
        "a_law": "alaw",
    }
    for sample_format in PLAYABLE:
        require_playable(sample_format)


def test_format_that_cannot_be_played_is_refused_with_those_that_can() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        require_playable(SampleFormat.MPEG)
    assert str(caught.value) == (
        "format mpeg cannot be played: the audio server takes u8, s16_le, s16_be, s24_le, s24_be, "
        "s32_le, s32_be, float_le, float_be, mu_law, a_law"
    )


@pytest.mark.parametrize(
    ("sample_format", "octets"),
    [
        (SampleFormat.S8, 1),
        (SampleFormat.U16_BE, 2),
        (SampleFormat.S24_LE, 4),
        (SampleFormat.U24_BE, 4),
        (SampleFormat.F64_LE, 8),
        (SampleFormat.IEC958_SUBFRAME_LE, 4),
        (SampleFormat.MU_LAW, 1),
        (SampleFormat.IMA_ADPCM, None),
        (SampleFormat.MPEG, None),
        (SampleFormat.GSM, None),
    ],
)
def test_sample_takes_as_many_octets_as_in_alsa(
    sample_format: SampleFormat, octets: int | None
) -> None:
    assert sample_format.sample_octets == octets


def test_frame_has_a_sample_of_each_channel() -> None:
    assert SampleFormat.S24_LE.frame_octets(2) == 8
    assert SampleFormat.U8.frame_octets(6) == 6
    assert Open(48000, SampleFormat.S16_LE, 2, 4096, 1024, 8).frame_octets == 4


def test_samples_without_octets_of_their_own_still_make_frames() -> None:
    assert SampleFormat.MPEG.frame_octets(2) == 2


@pytest.mark.parametrize(
    "sample_format", [each for each in SampleFormat if each.name.startswith("U")]
)
def test_silence_of_an_unsigned_format_is_mid_scale(sample_format: SampleFormat) -> None:
    bits = int(sample_format.name[1:].partition("_")[0])
    silence = sample_format.silence
    little_endian = silence[::-1] if sample_format.name.endswith("_BE") else silence
    assert int.from_bytes(little_endian, "little") == 1 << (bits - 1)


@pytest.mark.parametrize(
    ("sample_format", "silence"),
    [
        (SampleFormat.S24_BE, bytes(4)),
        (SampleFormat.F64_LE, bytes(8)),
        (SampleFormat.MU_LAW, b"\xff"),
        (SampleFormat.A_LAW, b"\xd5"),
        (SampleFormat.GSM, b""),
    ],
)
def test_silence_of_the_others(sample_format: SampleFormat, silence: bytes) -> None:
    assert sample_format.silence == silence
