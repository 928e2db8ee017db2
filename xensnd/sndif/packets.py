"""The packets of 64 octets: requests, responses and events. Little-endian.

Source: sndif.h, "Requests", "Responses" and "Events". Decoding a peer's packet gives a value or
raises RemoteProtocolError. A packet that is not 64 octets long, or a value that does not fit its
field, is our own doing: LocalProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from xensnd.errors import LocalProtocolError, RemoteProtocolError
from xensnd.sndif.formats import SampleFormat, format_from_wire
from xensnd.sndif.params import HW_PARAMS_OCTETS, HwParams, decode_hw_params, encode_hw_params
from xensnd.sndif.untrusted import member

__all__ = [
    "EVENT_CURRENT_POSITION",
    "PACKET_OCTETS",
    "Close",
    "CurrentPosition",
    "GetVolume",
    "HwParamQuery",
    "Mute",
    "Open",
    "Operation",
    "Read",
    "Request",
    "Response",
    "SetVolume",
    "Span",
    "Status",
    "Trigger",
    "TriggerRequest",
    "Unmute",
    "Write",
    "decode_event",
    "decode_mutes",
    "decode_request",
    "decode_response",
    "decode_volumes",
    "encode_event",
    "encode_mutes",
    "encode_request",
    "encode_response",
    "encode_volumes",
    "operation_of",
    "peek_request",
]

PACKET_OCTETS = 64
EVENT_CURRENT_POSITION = 0
"""XENSND_EVT_CUR_POS, the only event there is."""

_HEADER = struct.Struct("<HB5x")
_OPEN = struct.Struct("<IBB2xIII")
_SPAN = struct.Struct("<II")
_TRIGGER = struct.Struct("<B")
_RESPONSE = struct.Struct("<HBxi")
_POSITION = struct.Struct("<Q")
_PAYLOAD = _HEADER.size  # of requests, responses and events alike


class Operation(IntEnum):
    """XENSND_OP_*."""

    OPEN = 0
    CLOSE = 1
    READ = 2
    WRITE = 3
    SET_VOLUME = 4
    GET_VOLUME = 5
    MUTE = 6
    UNMUTE = 7
    TRIGGER = 8
    HW_PARAM_QUERY = 9


class Trigger(IntEnum):
    """XENSND_OP_TRIGGER_*."""

    START = 0
    PAUSE = 1
    STOP = 2
    RESUME = 3


class Status(IntEnum):
    """How a request went: 0, or -XEN_E* of xen/errno.h, whatever this system's errno says."""

    OK = 0
    EPERM = -1
    ENOENT = -2
    EIO = -5
    ENXIO = -6
    EAGAIN = -11
    ENOMEM = -12
    EACCES = -13
    EFAULT = -14
    EBUSY = -16
    ENODEV = -19
    EINVAL = -22
    ENOSPC = -28
    ERANGE = -34
    ENOSYS = -38
    EOVERFLOW = -75
    EOPNOTSUPP = -95
    ENOBUFS = -105
    ETIMEDOUT = -110


@dataclass(frozen=True, slots=True)
class Open:
    """Open a PCM stream."""

    rate_hz: int
    sample_format: SampleFormat
    channels: int
    buffer_octets: int
    period_octets: int  # 0: the frontend wants no position events
    directory_ref: int

    @property
    def frame_octets(self) -> int:
        return self.sample_format.frame_octets(self.channels)


@dataclass(frozen=True, slots=True)
class Close:
    """Close the stream. The frontend frees its pages as soon as it has the answer."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the shared buffer, in octets, unchecked: only OPEN says how long the buffer is."""

    offset: int
    octets: int


@dataclass(frozen=True, slots=True)
class Read(Span):
    """Fill this part with what was captured."""


@dataclass(frozen=True, slots=True)
class Write(Span):
    """Play this part."""


@dataclass(frozen=True, slots=True)
class SetVolume(Span):
    """Take each channel's volume from this part (`decode_volumes`)."""


@dataclass(frozen=True, slots=True)
class GetVolume(Span):
    """Put each channel's volume into this part (`encode_volumes`)."""


@dataclass(frozen=True, slots=True)
class Mute(Span):
    """Mute the channels that this part marks (`decode_mutes`)."""


@dataclass(frozen=True, slots=True)
class Unmute(Span):
    """Unmute the channels that this part marks (`decode_mutes`)."""


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """Change the stream's running state."""

    trigger: Trigger


@dataclass(frozen=True, slots=True)
class HwParamQuery:
    """Ask which of these parameters the backend is able to do. Legal before OPEN."""

    params: HwParams


Request: TypeAlias = (
    Open
    | Close
    | Read
    | Write
    | SetVolume
    | GetVolume
    | Mute
    | Unmute
    | TriggerRequest
    | HwParamQuery
)

_SPANS: dict[Operation, type[Read | Write | SetVolume | GetVolume | Mute | Unmute]] = {
    Operation.READ: Read,
    Operation.WRITE: Write,
    Operation.SET_VOLUME: SetVolume,
    Operation.GET_VOLUME: GetVolume,
    Operation.MUTE: Mute,
    Operation.UNMUTE: Unmute,
}
_OPERATION_OF: dict[type[Request], Operation] = {
    Open: Operation.OPEN,
    Close: Operation.CLOSE,
    TriggerRequest: Operation.TRIGGER,
    HwParamQuery: Operation.HW_PARAM_QUERY,
    **{kind: operation for operation, kind in _SPANS.items()},
}


def operation_of(request: Request) -> Operation:
    return _OPERATION_OF[type(request)]


def peek_request(packet: bytes) -> tuple[int, int]:
    """The id and the operation's number, so that even a bad request is answered as itself."""
    _require_packet(packet)
    request_id, operation = _HEADER.unpack_from(packet)
    return request_id, operation


def decode_request(packet: bytes) -> tuple[int, Request]:
    """A frontend's request and its id.

    Reserved octets are ignored although sndif.h wants 0: Linux leaves old responses in them.
    """
    request_id, number = peek_request(packet)
    operation = member(Operation, number, "operation")
    request: Request
    if operation in _SPANS:
        request = _SPANS[operation](*_SPAN.unpack_from(packet, _PAYLOAD))
    elif operation is Operation.OPEN:
        rate_hz, wire_format, channels, buffer_octets, directory_ref, period_octets = (
            _OPEN.unpack_from(packet, _PAYLOAD)
        )
        request = Open(
            rate_hz=rate_hz,
            sample_format=format_from_wire(wire_format),
            channels=channels,
            buffer_octets=buffer_octets,
            period_octets=period_octets,
            directory_ref=directory_ref,
        )
    elif operation is Operation.TRIGGER:
        request = TriggerRequest(member(Trigger, packet[_PAYLOAD], "trigger"))
    elif operation is Operation.HW_PARAM_QUERY:
        request = HwParamQuery(_hw_params_of(packet))
    else:
        request = Close()
    return request_id, request


def encode_request(request_id: int, request: Request) -> bytes:
    return _packed(_HEADER, request_id, operation_of(request), payload=_request_payload(request))


def _request_payload(request: Request) -> bytes:
    match request:
        case Open():
            return _pack(
                _OPEN,
                request.rate_hz,
                request.sample_format,
                request.channels,
                request.buffer_octets,
                request.directory_ref,
                request.period_octets,
            )
        case Span():
            return _pack(_SPAN, request.offset, request.octets)
        case TriggerRequest():
            return _pack(_TRIGGER, request.trigger)
        case HwParamQuery():
            return encode_hw_params(request.params)
        case Close():
            return b""


@dataclass(frozen=True, slots=True)
class Response:
    """The backend's answer: sndif.h, "Responses".

    `operation` echoes the request's number, be it one that sndif has or not. `status` is a Status,
    or a peer's negative number that Status does not name. `params` come with a HW_PARAM_QUERY
    that went well, and with nothing else.
    """

    request_id: int
    operation: int
    status: int
    params: HwParams | None = None


def encode_response(response: Response) -> bytes:
    if _carries_params(response.operation, response.status) != (response.params is not None):
        raise LocalProtocolError(f"{response}: parameters answer HW_PARAM_QUERY, and it alone")
    return _packed(
        _RESPONSE,
        response.request_id,
        response.operation,
        response.status,
        payload=encode_hw_params(response.params) if response.params else b"",
    )


def decode_response(packet: bytes) -> Response:
    """A backend's answer. Whether its id and operation are the awaited ones is the caller's."""
    _require_packet(packet)
    request_id, operation, status = _RESPONSE.unpack_from(packet)
    if status > 0:
        raise RemoteProtocolError(f"response status {status}, allowed 0 or a negative XEN_E*")
    return Response(
        request_id,
        Operation(operation) if operation in _OPERATIONS else operation,
        Status(status) if status in _STATUSES else status,
        _hw_params_of(packet) if _carries_params(operation, status) else None,
    )


_OPERATIONS = frozenset(map(int, Operation))
_STATUSES = frozenset(map(int, Status))


def _carries_params(operation: int, status: int) -> bool:
    return operation == Operation.HW_PARAM_QUERY and status == Status.OK


@dataclass(frozen=True, slots=True)
class CurrentPosition:
    """How far the stream has played or captured since OPEN: XENSND_EVT_CUR_POS."""

    position_octets: int


def encode_event(event_id: int, event: CurrentPosition) -> bytes:
    return _packed(
        _HEADER,
        event_id,
        EVENT_CURRENT_POSITION,
        payload=_pack(_POSITION, event.position_octets),
    )


def decode_event(packet: bytes) -> tuple[int, CurrentPosition]:
    """A backend's event and its id."""
    _require_packet(packet)
    event_id, kind = _HEADER.unpack_from(packet)
    if kind != EVENT_CURRENT_POSITION:
        raise RemoteProtocolError(f"unknown event {kind}, allowed {EVENT_CURRENT_POSITION}")
    return event_id, CurrentPosition(*_POSITION.unpack_from(packet, _PAYLOAD))


def decode_volumes(octets: bytes, channels: int) -> tuple[int, ...]:
    """Each channel's volume in 0.001 dB, 0 being 0 dB: sndif.h, "Request set/get volume".

    Octets after the last channel are ignored.
    """
    _require_channels("volumes", octets, channels, octets_each=4)
    return struct.unpack_from(f"<{channels}i", octets)


def encode_volumes(volumes: Sequence[int]) -> bytes:
    """Volumes are in 0.001 dB."""
    return _pack(struct.Struct(f"<{len(volumes)}i"), *volumes)


def decode_mutes(octets: bytes, channels: int) -> tuple[bool, ...]:
    """Return which channels a Mute or Unmute is about: sndif.h, "Request mute/unmute".

    One octet a channel, as that section's text has it; its figure counts in fours, wrongly.
    Octets after the last channel are ignored.
    """
    _require_channels("mutes", octets, channels, octets_each=1)
    return tuple(octet != 0 for octet in octets[:channels])


def encode_mutes(mutes: Sequence[bool]) -> bytes:
    return bytes(map(bool, mutes))


def _require_packet(packet: bytes) -> None:
    if len(packet) != PACKET_OCTETS:
        raise LocalProtocolError(f"a packet of {len(packet)} octets, not {PACKET_OCTETS}")


def _require_channels(what: str, octets: bytes, channels: int, octets_each: int) -> None:
    needed = channels * octets_each
    if len(octets) < needed:
        raise RemoteProtocolError(
            f"{what} of {channels} channels in {len(octets)} octets, needed {needed}"
        )


def _hw_params_of(packet: bytes) -> HwParams:
    return decode_hw_params(packet[_PAYLOAD : _PAYLOAD + HW_PARAMS_OCTETS])


def _packed(header: struct.Struct, *fields: int, payload: bytes) -> bytes:
    return (_pack(header, *fields) + payload).ljust(PACKET_OCTETS, b"\0")


def _pack(layout: struct.Struct, *fields: int) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise LocalProtocolError(f"{fields} does not fit its fields: {error}") from None
