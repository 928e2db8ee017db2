from __future__ import annotations

import pytest

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import (
    CardConfig,
    Direction,
    PcmConfig,
    StreamConfig,
    StreamRings,
    card_nodes,
    parse_card,
    parse_rings,
)

# The example of sndif.h, "Example configuration", as libxl completes it.
EXAMPLE = {
    "short-name": "Card short name",
    "long-name": "Card long name",
    "sample-rates": "8000,32000,44100,48000,96000",
    "sample-formats": "s8,u8,s16_le,s16_be",
    "buffer-size": "262144",
    "0/name": "General analog",
    "0/channels-max": "5",
    "0/0/type": "p",
    "0/0/sample-formats": "s8,u8",
    "0/0/unique-id": "0",
    "0/0/ring-ref": "386",
    "0/0/event-channel": "15",
    "0/1/type": "c",
    "0/1/channels-max": "2",
    "0/1/unique-id": "1",
    "1/name": "HDMI-0",
    "1/sample-rates": "8000,32000,44100",
    "1/0/type": "c",
    "1/0/unique-id": "2",
    "backend-id": "0",
    "backend": "/local/domain/0/backend/vsnd/1/0",
    "state": "4",
}
STREAM = {"0/0/type": "p"}


def test_stream_inherits_from_its_pcm_and_its_card() -> None:
    rates = (8000, 32000, 44100, 48000, 96000)
    all_four = (SampleFormat.S8, SampleFormat.U8, SampleFormat.S16_LE, SampleFormat.S16_BE)
    playback = StreamConfig(
        index=0,
        direction=Direction.PLAYBACK,
        unique_id="0",
        channels=Interval(1, 5),
        rates=rates,
        formats=(SampleFormat.S8, SampleFormat.U8),
        buffer_octets=262144,
    )
    capture = StreamConfig(1, Direction.CAPTURE, "1", Interval(1, 2), rates, all_four, 262144)
    hdmi = StreamConfig(0, Direction.CAPTURE, "2", Interval(1, 2), rates[:3], all_four, 262144)
    assert parse_card(EXAMPLE) == CardConfig(
        pcms=(
            PcmConfig(0, (playback, capture), "General analog"),
            PcmConfig(1, (hdmi,), "HDMI-0"),
        ),
        short_name="Card short name",
        long_name="Card long name",
    )


def test_stream_without_parameters_has_those_of_the_linux_driver() -> None:
    stream = parse_card(STREAM).pcms[0].streams[0]
    assert stream == StreamConfig(index=0, direction=Direction.PLAYBACK)
    assert stream.formats == (SampleFormat.U8, SampleFormat.S16_LE)
    assert stream.channels == Interval(1, 2)
    assert stream.buffer_octets == 65536
    assert stream.rate_range == Interval(5512, 48000)


def test_unlisted_rates_are_all_of_a_range_and_listed_ones_themselves() -> None:
    any_rate = StreamConfig(0, Direction.PLAYBACK)
    assert any_rate.allows_rate(12345)
    assert not any_rate.allows_rate(96000)
    two_rates = StreamConfig(0, Direction.PLAYBACK, rates=(44100, 96000))
    assert two_rates.allows_rate(96000)
    assert not two_rates.allows_rate(48000)
    assert two_rates.rate_range == Interval(44100, 96000)


def test_rates_come_in_order_and_once() -> None:
    card = parse_card(STREAM | {"sample-rates": "48000,8000,48000"})
    assert card.pcms[0].streams[0].rates == (8000, 48000)


def test_libxls_float_is_read_and_sndifs_is_written() -> None:
    card = parse_card(STREAM | {"sample-formats": "s16_le,f32_le"})
    assert card.pcms[0].streams[0].formats == (SampleFormat.S16_LE, SampleFormat.F32_LE)
    assert card_nodes(card)["0/0/sample-formats"] == "s16_le,float_le"


def test_card_is_written_as_the_stock_driver_reads_it() -> None:
    card = CardConfig(
        pcms=(
            PcmConfig(
                index=0,
                name="pcm0",
                streams=(
                    StreamConfig(0, Direction.PLAYBACK, "pb", rates=(44100, 48000)),
                    StreamConfig(1, Direction.CAPTURE),
                ),
            ),
        ),
        short_name="Xen0",
    )
    assert card_nodes(card) == {
        "short-name": "Xen0",
        "0/name": "pcm0",
        "0/0/type": "p",
        "0/0/unique-id": "pb",
        "0/0/channels-min": "1",
        "0/0/channels-max": "2",
        "0/0/sample-rates": "44100,48000",
        "0/0/sample-formats": "u8,s16_le",
        "0/0/buffer-size": "65536",
        "0/1/type": "c",
        "0/1/channels-min": "1",
        "0/1/channels-max": "2",
        "0/1/sample-formats": "u8,s16_le",
        "0/1/buffer-size": "65536",
    }
    assert parse_card(card_nodes(card)) == card


def test_directories_themselves_may_be_among_the_nodes() -> None:
    assert parse_card(STREAM | {"0": "", "0/0": ""}) == parse_card(STREAM)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({}, "no PCM at the device, at least 1 is needed"),
        ({"0/name": "empty"}, "no stream at 0/, at least 1 is needed"),
        ({"0/0/unique-id": "x"}, "0/0/type is missing, allowed 'p' or 'c'"),
        ({"0/0/type": "playback"}, "0/0/type holds 'playback', allowed 'p' or 'c'"),
        (STREAM | {"2/0/type": "p"}, "PCM 1 is missing, though 2 are there"),
        ({"0/1/type": "p"}, "stream 0/0 is missing, though 1 are there"),
        ({f"0/{n}/type": "p" for n in range(9)}, "9 x stream at 0/, limit 8"),
        ({f"{n}/0/type": "p" for n in range(9)}, "9 x PCM at the device, limit 8"),
        (STREAM | {"channels-max": "256"}, "channels-max holds '256', allowed 1 to 255"),
        (STREAM | {"0/channels-min": "0"}, "0/channels-min holds '0', allowed 1 to 255"),
        (STREAM | {"0/channels-min": "3"}, "0/0: channels-min 3 exceeds channels-max 2"),
        (STREAM | {"buffer-size": "64k"}, "buffer-size holds '64k', allowed 1 to 4294967295"),
        (
            STREAM | {"buffer-size": "4294967296"},
            "buffer-size holds '4294967296', allowed 1 to 4294967295",
        ),
        (
            STREAM | {"sample-rates": "8000, 48000"},
            "sample-rates holds ' 48000', allowed 1 to 4294967295",
        ),
        (STREAM | {"sample-rates": ""}, "sample-rates holds '', allowed 1 to 4294967295"),
        (
            STREAM | {"sample-rates": "8000," * 40},
            f"sample-rates holds {'8000,' * 8!r}..., allowed 32 items of 11 octets",
        ),
        (
            STREAM | {"sample-formats": "s16_le,s24le"},
            "sample-formats: unknown sample format 's24le' (did you mean 's24_le'?)",
        ),
        (
            STREAM | {"short-name": "x" * 33},
            f"short-name holds {'x' * 33!r}, allowed 32 octets of printable text",
        ),
        (
            STREAM | {"long-name": "ü" * 41},
            f"long-name holds {'ü' * 40!r}..., allowed 80 octets of printable text",
        ),
        (
            STREAM | {"0/name": "a\nfake log line"},
            "0/name holds 'a\\nfake log line', allowed 80 octets of printable text",
        ),
        (
            STREAM | {"0/0/unique-id": "\udcff"},
            "0/0/unique-id holds '\\udcff', allowed 64 octets of printable text",
        ),
    ],
)
def test_bad_node_is_named_with_what_it_holds_and_what_is_allowed(
    nodes: dict[str, str], message: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_card(nodes)
    assert str(caught.value) == message


RINGS = StreamRings(ring_ref=386, event_channel=15, evt_ring_ref=1386, evt_event_channel=215)
RING_NODES = {
    "ring-ref": "386",
    "event-channel": "15",
    "evt-ring-ref": "1386",
    "evt-event-channel": "215",
}


def test_rings_are_four_nodes() -> None:
    assert RINGS.nodes() == RING_NODES
    assert parse_rings(RING_NODES | {"type": "p"}) == RINGS


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("ring-ref", "0", "ring-ref holds '0', allowed 1 to 4294967295"),
        ("evt-ring-ref", "00", "evt-ring-ref holds '00', allowed 1 to 4294967295"),
        ("event-channel", "-1", "event-channel holds '-1', allowed 0 to 4294967295"),
        ("event-channel", "1_0", "event-channel holds '1_0', allowed 0 to 4294967295"),
        (
            "evt-event-channel",
            "9" * 5000,
            f"evt-event-channel holds {'9' * 40!r}..., allowed 0 to 4294967295",
        ),
    ],
)
def test_ring_node_is_a_plain_u32(field: str, text: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_rings(RING_NODES | {field: text})
    assert str(caught.value) == message


@pytest.mark.parametrize("field", RING_NODES)
def test_missing_ring_node_is_named(field: str) -> None:
    nodes = {name: text for name, text in RING_NODES.items() if name != field}
    with pytest.raises(RemoteProtocolError, match=f"^{field} is missing"):
        parse_rings(nodes)
