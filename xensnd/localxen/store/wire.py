"""XenStore's packets, as the stand-in store reads and writes them (xen/io/xs_wire.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

PAYLOAD_MAX = 4096
_HEADER = struct.Struct("=IIII")  # type, request id, transaction id, octets of payload


class Op(IntEnum):
    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


@dataclass(frozen=True, slots=True)
class Packet:
    op: int  # an Op, unless a client sent something else
    payload: bytes
    request: int = 0
    transaction: int = 0

    def __bytes__(self) -> bytes:
        return (
            _HEADER.pack(self.op, self.request, self.transaction, len(self.payload)) + self.payload
        )


class MalformedPacket(Exception):
    """A header with a length that is too large. What follows cannot be read as packets."""


class PacketBuffer:
    """Cuts a stream of octets into packets."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        self._octets += octets

    def next(self) -> Packet | None:
        """Return the next whole packet. None: more octets are needed."""
        if len(self._octets) < _HEADER.size:
            return None
        op, request, transaction, length = _HEADER.unpack_from(self._octets)
        if length > PAYLOAD_MAX:
            raise MalformedPacket(f"payload of {length} octets, limit {PAYLOAD_MAX}")
        end = _HEADER.size + length
        if len(self._octets) < end:
            return None
        payload = bytes(self._octets[_HEADER.size : end])
        del self._octets[:end]
        return Packet(op, payload, request, transaction)
