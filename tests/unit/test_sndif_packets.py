from __future__ import annotations

import pytest

from xensnd.errors import LocalProtocolError, RemoteProtocolError
from xensnd.sndif.formats import SampleFormat, format_mask
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
    peek_request,
)
from xensnd.sndif.params import HwParams, Interval

PARAMS = HwParams(
    formats=format_mask([SampleFormat.U8, SampleFormat.S16_LE]),
    rates=Interval(8000, 48000),
    channels=Interval(1, 2),
    buffer_frames=Interval(960, 16384),
    period_frames=Interval(480, 8192),
)
PARAMS_HEX = (
    "06000000 00000000"  # formats
    "401f0000 80bb0000"  # rates
    "01000000 02000000"  # channels
    "c0030000 00400000"  # buffer
    "e0010000 00200000"  # period
)


def golden(text: str) -> bytes:
    """64 octets: these, then zeros."""
    return bytes.fromhex(text).ljust(64, b"\0")


REQUESTS: list[tuple[Request, str]] = [
    (
        Open(
            rate_hz=48000,
            sample_format=SampleFormat.S16_LE,
            channels=2,
            buffer_octets=65536,
            period_octets=16384,
            directory_ref=0x1234,
        ),
        "3412 00 0000000000  80bb0000 02 02 0000 00000100 34120000 00400000",
    ),
    (Close(), "3412 01 0000000000"),
    (Read(0x1000, 0x800), "3412 02 0000000000  00100000 00080000"),
    (Write(0x1000, 0x800), "3412 03 0000000000  00100000 00080000"),
    (SetVolume(0x1000, 8), "3412 04 0000000000  00100000 08000000"),
    (GetVolume(0x1000, 8), "3412 05 0000000000  00100000 08000000"),
    (Mute(0x1000, 2), "3412 06 0000000000  00100000 02000000"),
    (Unmute(0x1000, 2), "3412 07 0000000000  00100000 02000000"),
    (TriggerRequest(Trigger.START), "3412 08 0000000000  00"),
    (TriggerRequest(Trigger.RESUME), "3412 08 0000000000  03"),
    (HwParamQuery(PARAMS), "3412 09 0000000000" + PARAMS_HEX),
]
RESPONSES = [
    (Response(7, Operation.OPEN, Status.OK), "0700 00 00 00000000"),
    (Response(7, Operation.OPEN, Status.EACCES), "0700 00 00 f3ffffff"),
    (Response(7, 200, Status.EOPNOTSUPP), "0700 c8 00 a1ffffff"),
    (Response(7, Operation.HW_PARAM_QUERY, Status.OK, PARAMS), "0700 09 00 00000000" + PARAMS_HEX),
    (Response(7, Operation.HW_PARAM_QUERY, Status.EINVAL), "0700 09 00 eaffffff"),
    (Response(7, Operation.WRITE, -9999), "0700 03 00 f1d8ffff"),
]
OPEN, OPEN_HEX = REQUESTS[0]


@pytest.mark.parametrize(("request_", "octets"), REQUESTS)
def test_request_is_these_octets(request_: Request, octets: str) -> None:
    assert encode_request(0x1234, request_) == golden(octets)


@pytest.mark.parametrize(("request_", "octets"), REQUESTS)
def test_these_octets_are_the_request(request_: Request, octets: str) -> None:
    assert decode_request(golden(octets)) == (0x1234, request_)


@pytest.mark.parametrize(("response", "octets"), RESPONSES)
def test_response_is_these_octets(response: Response, octets: str) -> None:
    assert encode_response(response) == golden(octets)
    assert decode_response(golden(octets)) == response


def test_event_is_these_octets() -> None:
    octets = golden("ffff 00 0000000000  0800000001000000")
    assert encode_event(0xFFFF, CurrentPosition(2**32 + 8)) == octets
    assert decode_event(octets) == (0xFFFF, CurrentPosition(2**32 + 8))


def test_reserved_octets_of_a_request_are_ignored_because_linux_never_zeroes_them() -> None:
    packet = bytearray(b"\xee" * 64)
    packet[:3] = golden(OPEN_HEX)[:3]
    packet[8:14] = golden(OPEN_HEX)[8:14]
    packet[16:28] = golden(OPEN_HEX)[16:28]
    assert decode_request(bytes(packet)) == (0x1234, OPEN)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("3412 0a", "unknown operation 10, allowed 0 to 9"),
        ("3412 08 0000000000 04", "unknown trigger 4, allowed 0 to 3"),
        ("3412 00 0000000000 80bb0000 19", "unknown sample format 25, allowed 0 to 24"),
        (
            "3412 09 0000000000 0600000000000000 80bb0000 401f0000",
            "rates 48000-8000: the minimum exceeds the maximum",
        ),
    ],
)
def test_bad_request_is_the_peers_fault_and_can_still_be_answered(
    octets: str, message: str
) -> None:
    packet = golden(octets)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_request(packet)
    assert str(caught.value) == message
    assert peek_request(packet) == (0x1234, packet[2])


def test_response_with_a_positive_status_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="response status 1, allowed 0 or a negative"):
        decode_response(golden("0700 00 00 01000000"))


def test_unknown_event_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="unknown event 1, allowed 0"):
        decode_event(golden("0000 01"))


@pytest.mark.parametrize("decode", [decode_request, decode_response, decode_event, peek_request])
@pytest.mark.parametrize("octets", [0, 63, 65])
def test_packet_of_another_length_is_our_own_bug(decode: object, octets: int) -> None:
    assert callable(decode)
    with pytest.raises(LocalProtocolError, match=f"a packet of {octets} octets, not 64"):
        decode(bytes(octets))


def test_value_beyond_its_field_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError, match="does not fit"):
        encode_request(0, Write(2**32, 1))
    with pytest.raises(LocalProtocolError, match="does not fit"):
        encode_event(2**16, CurrentPosition(0))


@pytest.mark.parametrize(
    "response",
    [
        Response(0, Operation.HW_PARAM_QUERY, Status.OK),
        Response(0, Operation.HW_PARAM_QUERY, Status.EINVAL, PARAMS),
        Response(0, Operation.OPEN, Status.OK, PARAMS),
    ],
)
def test_parameters_answer_a_query_that_went_well_and_nothing_else(response: Response) -> None:
    with pytest.raises(LocalProtocolError, match="parameters answer HW_PARAM_QUERY"):
        encode_response(response)


def test_volumes_are_signed_thousandths_of_a_decibel() -> None:
    octets = bytes.fromhex("00000000 70e8ffff")
    assert decode_volumes(octets, 2) == (0, -6032)
    assert encode_volumes([0, -6032]) == octets


def test_mutes_are_one_octet_a_channel() -> None:
    assert decode_mutes(b"\x00\x01\xff", 3) == (False, True, True)
    assert encode_mutes([False, True, True]) == b"\x00\x01\x01"


def test_octets_after_the_last_channel_are_ignored() -> None:
    assert decode_volumes(bytes(12), 2) == (0, 0)
    assert decode_mutes(b"\x01\x00\x01", 2) == (True, False)


def test_too_few_octets_for_the_channels_are_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="volumes of 2 channels in 7 octets, needed 8"):
        decode_volumes(bytes(7), 2)
    with pytest.raises(RemoteProtocolError, match="mutes of 2 channels in 1 octets, needed 2"):
        decode_mutes(bytes(1), 2)
