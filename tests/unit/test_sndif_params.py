from __future__ import annotations

from dataclasses import replace

import pytest

from xensnd.errors import LocalProtocolError, RemoteProtocolError
from xensnd.sndif import layout
from xensnd.sndif.formats import SampleFormat, format_mask
from xensnd.sndif.params import (
    HwParams,
    Interval,
    decode_hw_params,
    encode_hw_params,
    narrow,
)

ABLE = HwParams(
    formats=format_mask([SampleFormat.U8, SampleFormat.S16_LE]),
    rates=Interval(8000, 48000),
    channels=Interval(1, 2),
    buffer_frames=Interval(960, 16384),
    period_frames=Interval(480, 8192),
)


def test_intervals_overlap_in_one_number() -> None:
    assert Interval(1, 5).intersect(Interval(5, 9)) == Interval(5, 5)


def test_intervals_apart_have_nothing_in_common() -> None:
    assert Interval(1, 4).intersect(Interval(5, 9)) is None


def test_interval_contains_its_ends() -> None:
    interval = Interval(3, 5)
    assert [number for number in range(10) if interval.contains(number)] == [3, 4, 5]


def test_inverted_interval_is_our_own_bug_unless_a_peer_sent_it() -> None:
    with pytest.raises(LocalProtocolError, match="interval 2-1 is inverted"):
        Interval(2, 1)
    octets = encode_hw_params(ABLE)
    swapped = octets[:-8] + octets[-4:] + octets[-8:-4]
    with pytest.raises(RemoteProtocolError) as caught:
        decode_hw_params(swapped)
    assert str(caught.value) == "period 8192-480: the minimum exceeds the maximum"


def test_parameters_are_40_octets_and_no_other_number() -> None:
    assert len(encode_hw_params(ABLE)) == 40
    with pytest.raises(LocalProtocolError, match="39 octets of parameters, not 40"):
        decode_hw_params(bytes(39))


def test_number_beyond_32_bits_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError, match="does not fit"):
        encode_hw_params(replace(ABLE, rates=Interval(0, 2**32)))


def test_narrowing_raises_the_smallest_period_and_drops_formats_we_lack() -> None:
    linux_at_open = HwParams(
        formats=format_mask([SampleFormat.S16_LE, SampleFormat.MPEG]),
        rates=Interval(5512, 44100),
        channels=Interval(2, 2),
        buffer_frames=Interval(32, 16384),
        period_frames=Interval(16, 8192),
    )
    assert narrow(linux_at_open, ABLE) == HwParams(
        formats=format_mask([SampleFormat.S16_LE]),
        rates=Interval(8000, 44100),
        channels=Interval(2, 2),
        buffer_frames=Interval(960, 16384),
        period_frames=Interval(480, 8192),
    )


@pytest.mark.parametrize(
    ("offered", "message"),
    [
        (replace(ABLE, formats=1 << 23), "formats mpeg, able u8, s16_le"),
        (replace(ABLE, formats=1 << 40), "formats 0x10000000000, able u8, s16_le"),
        (replace(ABLE, formats=0), "formats 0x0, able u8, s16_le"),
        (replace(ABLE, rates=Interval(96000, 192000)), "rates 96000-192000 Hz, able 8000-48000"),
        (replace(ABLE, channels=Interval(3, 8)), "channels 3-8, able 1-2"),
        (replace(ABLE, buffer_frames=Interval(64, 128)), "buffer 64-128 frames, able 960-16384"),
        (replace(ABLE, period_frames=Interval(16, 64)), "period 16-64 frames, able 480-8192"),
    ],
)
def test_narrowing_to_nothing_names_the_parameter_and_both_ranges(
    offered: HwParams, message: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        narrow(offered, ABLE)
    assert str(caught.value) == message


@pytest.mark.parametrize(("octets", "pages"), [(0, 0), (1, 1), (4096, 1), (4097, 2), (2**20, 256)])
def test_buffer_takes_whole_pages(octets: int, pages: int) -> None:
    assert layout.buffer_pages(octets) == pages


@pytest.mark.parametrize(("pages", "directory"), [(0, 1), (1, 1), (1023, 1), (1024, 2), (2047, 3)])
def test_directory_page_names_1023_pages_and_one_always_exists(pages: int, directory: int) -> None:
    assert layout.directory_pages(pages) == directory
