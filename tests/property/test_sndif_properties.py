"""Whatever a peer writes decodes, or raises RemoteProtocolError; whatever we write comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import SampleFormat, format_mask, formats_in_mask, parse_format
from xensnd.sndif.packets import (
    Close,
    CurrentPosition,
    GetVolume,
    HwParamQuery,
    Mute,
    Open,
    Operation,
    Read,
    Request,
    Response,
    SetVolume,
    Status,
    Trigger,
    TriggerRequest,
    Unmute,
    Write,
    decode_event,
    decode_mutes,
    decode_request,
    decode_response,
    decode_volumes,
    encode_event,
    encode_mutes,
    encode_request,
    encode_response,
    encode_volumes,
    operation_of,
    peek_request,
)
from xensnd.sndif.params import (
    HwParams,
    Interval,
    decode_hw_params,
    encode_hw_params,
    narrow,
)
from xensnd.sndif.states import StreamEvent, StreamState, next_stream_state, parse_state
from xensnd.sndif.store_fields import (
    MAX_PCMS,
    MAX_STREAMS,
    CardConfig,
    Direction,
    PcmConfig,
    StreamConfig,
    StreamRings,
    card_nodes,
    parse_card,
    parse_rings,
)

u8 = st.integers(0, 2**8 - 1)
u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
sample_formats = st.sampled_from(SampleFormat)


def intervals(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Interval]:
    return st.tuples(numbers, numbers).map(lambda pair: Interval(min(pair), max(pair)))


hw_params = st.builds(
    HwParams,
    formats=u64,
    rates=intervals(u32),
    channels=intervals(u32),
    buffer_frames=intervals(u32),
    period_frames=intervals(u32),
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(
        Open,
        rate_hz=u32,
        sample_format=sample_formats,
        channels=u8,
        buffer_octets=u32,
        period_octets=u32,
        directory_ref=u32,
    ),
    st.just(Close()),
    *(st.builds(kind, u32, u32) for kind in (Read, Write, SetVolume, GetVolume, Mute, Unmute)),
    st.builds(TriggerRequest, st.sampled_from(Trigger)),
    st.builds(HwParamQuery, hw_params),
)
statuses = st.one_of(st.sampled_from(Status), st.integers(-(2**31), 0))
responses = st.one_of(
    st.builds(
        Response,
        u16,
        u8.filter(lambda operation: operation != Operation.HW_PARAM_QUERY),
        statuses,
    ),
    st.builds(Response, u16, st.just(Operation.HW_PARAM_QUERY), st.just(Status.OK), hw_params),
    st.builds(
        Response,
        u16,
        st.just(Operation.HW_PARAM_QUERY),
        statuses.filter(lambda status: status != Status.OK),
    ),
)
# Octets that get past the header more often than random ones do.
packets = st.one_of(
    st.binary(min_size=64, max_size=64),
    st.tuples(u16, st.integers(0, 11), st.binary(min_size=61, max_size=61)).map(
        lambda parts: parts[0].to_bytes(2, "little") + bytes([parts[1]]) + parts[2]
    ),
)


@given(u16, requests)
def test_request_comes_back(request_id: int, request: Request) -> None:
    packet = encode_request(request_id, request)
    assert decode_request(packet) == (request_id, request)
    assert peek_request(packet) == (request_id, operation_of(request))


@given(responses)
def test_response_comes_back(response: Response) -> None:
    assert decode_response(encode_response(response)) == response


@given(u16, u64)
def test_event_comes_back(event_id: int, position: int) -> None:
    event = CurrentPosition(position)
    assert decode_event(encode_event(event_id, event)) == (event_id, event)


@given(hw_params)
def test_parameters_come_back(params: HwParams) -> None:
    assert decode_hw_params(encode_hw_params(params)) == params


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=255))
def test_volumes_come_back(volumes: list[int]) -> None:
    assert decode_volumes(encode_volumes(volumes), len(volumes)) == tuple(volumes)


@given(st.lists(st.booleans(), max_size=255))
def test_mutes_come_back(mutes: list[bool]) -> None:
    assert decode_mutes(encode_mutes(mutes), len(mutes)) == tuple(mutes)


@given(st.sets(sample_formats))
def test_formats_come_back_from_a_mask(chosen: set[SampleFormat]) -> None:
    assert set(formats_in_mask(format_mask(chosen))) == chosen


def only_remote_errors(read: Callable[[], object]) -> None:
    message = ""
    try:
        read()
    except RemoteProtocolError as error:
        message = str(error)
    assert len(message) < 1000
    assert message.isprintable()


@given(packets)
def test_any_64_octets_decode_or_are_the_peers_fault(packet: bytes) -> None:
    peek_request(packet)
    only_remote_errors(lambda: decode_request(packet))
    only_remote_errors(lambda: decode_response(packet))
    only_remote_errors(lambda: decode_event(packet))


@given(packets)
def test_request_that_decodes_means_the_same_when_encoded_again(packet: bytes) -> None:
    try:
        request_id, request = decode_request(packet)
    except RemoteProtocolError:
        return
    assert decode_request(encode_request(request_id, request)) == (request_id, request)


@given(st.binary(max_size=64), st.integers(0, 255))
def test_any_volumes_and_mutes_decode_or_are_the_peers_fault(octets: bytes, channels: int) -> None:
    only_remote_errors(lambda: decode_volumes(octets, channels))
    only_remote_errors(lambda: decode_mutes(octets, channels))


near_formats = st.integers(0, 2**26 - 1)
near_numbers = st.integers(0, 100)


@given(
    *(
        st.builds(
            HwParams,
            formats=st.one_of(near_formats, u64),
            rates=intervals(near_numbers),
            channels=intervals(near_numbers),
            buffer_frames=intervals(near_numbers),
            period_frames=intervals(near_numbers),
        )
        for _ in range(2)
    )
)
def test_narrowing_gives_a_subset_of_both_or_an_error(offered: HwParams, able: HwParams) -> None:
    try:
        common = narrow(offered, able)
    except RemoteProtocolError:
        assert not offered.formats & able.formats or any(
            getattr(offered, name).intersect(getattr(able, name)) is None
            for name in ("rates", "channels", "buffer_frames", "period_frames")
        )
        return
    assert common.formats
    for asked in (offered, able):
        assert common.formats & ~asked.formats == 0
        for field in fields(common)[1:]:
            interval, outer = getattr(common, field.name), getattr(asked, field.name)
            assert outer.minimum <= interval.minimum <= interval.maximum <= outer.maximum
    assert narrow(common, able) == common


names = st.text(
    st.characters(blacklist_categories=("C", "Z")), max_size=8
)  # four octets a character at most: 32, the shortest limit
stream_configs = st.builds(
    StreamConfig,
    index=st.just(0),
    direction=st.sampled_from(Direction),
    unique_id=names,
    channels=intervals(st.integers(1, 255)),
    rates=st.sets(st.integers(1, 2**32 - 1), max_size=32).map(lambda rates: tuple(sorted(rates))),
    formats=st.sets(sample_formats, min_size=1).map(lambda chosen: tuple(sorted(chosen))),
    buffer_octets=st.integers(1, 2**32 - 1),
)


@st.composite
def card_configs(draw: st.DrawFn) -> CardConfig:
    def stream(index: int) -> StreamConfig:
        config = draw(stream_configs)
        return StreamConfig(
            index,
            config.direction,
            config.unique_id,
            config.channels,
            config.rates,
            config.formats,
            config.buffer_octets,
        )

    pcms = tuple(
        PcmConfig(
            index=pcm,
            streams=tuple(stream(each) for each in range(draw(st.integers(1, 3)))),
            name=draw(names),
        )
        for pcm in range(draw(st.integers(1, 3)))
    )
    return CardConfig(pcms, draw(names), draw(names))


@given(card_configs())
def test_card_comes_back(card: CardConfig) -> None:
    assert parse_card(card_nodes(card)) == card


node_names = st.one_of(
    st.sampled_from(
        [
            "type",
            "unique-id",
            "name",
            "short-name",
            "long-name",
            "channels-min",
            "channels-max",
            "sample-rates",
            "sample-formats",
            "buffer-size",
        ]
    ),
    st.text(max_size=8),
)
texts = st.one_of(
    st.sampled_from(["p", "c", "1", "2", "48000", "8000,44100", "s16_le,u8", ",", "²", "٣"]),
    st.integers().map(str),
    st.text(st.characters(), max_size=200),  # lone surrogates too: octets that are no UTF-8
)
indices = st.one_of(st.integers(0, MAX_PCMS).map(str), st.text("0123456789²", max_size=12))
paths = st.one_of(
    node_names,
    st.tuples(indices, node_names).map("/".join),
    st.tuples(indices, indices, node_names).map("/".join),
    st.text(max_size=12),
)


@given(st.dictionaries(paths, texts, max_size=40))
def test_any_nodes_are_a_card_or_the_peers_fault(nodes: dict[str, str]) -> None:
    only_remote_errors(lambda: parse_card(nodes))


@given(st.dictionaries(paths, texts, max_size=20))
def test_any_nodes_beside_good_streams_are_a_card_or_the_peers_fault(
    nodes: dict[str, str],
) -> None:
    streams = {f"0/{index}/type": "p" for index in range(MAX_STREAMS)}
    only_remote_errors(lambda: parse_card(nodes | streams))


@given(u32.filter(bool), u32, u32.filter(bool), u32)
def test_rings_come_back(
    ring_ref: int, event_channel: int, evt_ring_ref: int, evt_event_channel: int
) -> None:
    rings = StreamRings(ring_ref, event_channel, evt_ring_ref, evt_event_channel)
    assert parse_rings(rings.nodes()) == rings


@given(
    st.dictionaries(
        st.sampled_from(["ring-ref", "event-channel", "evt-ring-ref", "evt-event-channel"]),
        texts,
    )
)
def test_any_ring_nodes_are_rings_or_the_peers_fault(nodes: dict[str, str]) -> None:
    only_remote_errors(lambda: parse_rings(nodes))


@given(texts)
def test_any_text_is_a_format_or_a_state_or_the_peers_fault(text: str) -> None:
    only_remote_errors(lambda: parse_format(text))
    only_remote_errors(lambda: parse_state(text))


@given(st.lists(st.sampled_from(StreamEvent)))
def test_stream_runs_only_after_an_open(events: list[StreamEvent]) -> None:
    state = StreamState.CLOSED
    opened = False
    for event in events:
        if not opened and event not in {StreamEvent.OPEN, StreamEvent.CLOSE}:
            with pytest.raises(RemoteProtocolError):
                next_stream_state(state, event)
            continue
        try:
            state = next_stream_state(state, event)
        except RemoteProtocolError:
            continue
        opened = {StreamEvent.OPEN: True, StreamEvent.CLOSE: False}.get(event, opened)
        assert opened == (state is not StreamState.CLOSED)
