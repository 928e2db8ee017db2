"""Passes on to XenStore what rules admit, for a process that may not use XenStore itself.

It looks at the headers of packets, and leaves it to the rules to look at what a request asks for.
Each client has a connection to XenStore of its own, so its watches and transactions end with it.
One request is under way at a time, and nothing of a client grows without a limit.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pyxs._internal import Op

from xensnd.transport.interface import StoreDescriptor
from xensnd.transport.xenstore import PAYLOAD_OCTETS_MAX

WATCHES_MAX = 8192
TRANSACTIONS_MAX = 8
# What the client has not read yet. Beyond this nothing is read from XenStore for it.
_UNREAD_OCTETS_MAX = 1 << 18
_READ_OCTETS = 1 << 16
_HEADER = struct.Struct("=IIII")  # operation, request, transaction, octets that follow


class Rules(Protocol):
    def admits(self, op: int, payload: bytes) -> bool:
        """Return whether the request may go to XenStore. Transactions and the number of watches are
        not its concern."""


class StoreProxy:
    """One client. `on_refused` gets each request that is refused."""

    def __init__(
        self,
        client: socket.socket,
        store: StoreDescriptor,
        rules: Rules,
        on_refused: Callable[[int, bytes], None],
    ) -> None:
        client.setblocking(False)
        self._client = client
        self._store = store
        self._rules = rules
        self._on_refused = on_refused
        self._requests = bytearray()
        self._replies = bytearray()  # of XenStore: what has come of a packet
        self._unread = bytearray()
        self._asked: tuple[int, int] | None = None  # operation and transaction under way
        self._watches: set[bytes] = set()
        self._transactions: set[int] = set()

    def interests(self) -> dict[int, int]:
        """Return the events of poll(2) to wait for, by descriptor."""
        client = select.POLLOUT if self._unread else 0
        if self._asked is None and len(self._unread) < _UNREAD_OCTETS_MAX:
            client |= select.POLLIN
        store = select.POLLIN if len(self._unread) < _UNREAD_OCTETS_MAX else 0
        return {self._client.fileno(): client, self._store.fd: store}

    def follow(self, fd: int) -> bool:
        """Do what an event of a descriptor asks for. Returns False if this was the end."""
        try:
            if fd == self._store.fd:
                self._replies += _received(lambda: os.read(self._store.fd, _READ_OCTETS))
                self._cut_replies()
            elif self._asked is None:
                self._requests += _received(lambda: self._client.recv(_READ_OCTETS))
            self._cut_requests()
            self._flush()
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        self._client.close()
        os.close(self._store.fd)

    def _cut_requests(self) -> None:
        while self._asked is None and len(self._requests) >= _HEADER.size:
            op, request, transaction, octets = _HEADER.unpack_from(self._requests)
            if octets > PAYLOAD_OCTETS_MAX:
                raise ValueError("a request that is too long")
            end = _HEADER.size + octets
            if len(self._requests) < end:
                return
            packet = bytes(self._requests[:end])
            del self._requests[:end]
            refusal = self._refusal(op, transaction, packet[_HEADER.size :])
            if refusal:
                self._unread += _HEADER.pack(Op.ERROR, request, transaction, len(refusal)) + refusal
            else:
                self._asked = op, transaction
                if os.write(self._store.fd, packet) != len(packet):
                    raise BlockingIOError

    def _refusal(self, op: int, transaction: int, payload: bytes) -> bytes:
        """Return the error with which a request is refused, as XenStore names it, or b""."""
        if len(payload) > self._store.payload_octets_max:
            return b"E2BIG\0"
        if op in (Op.TRANSACTION_START, Op.TRANSACTION_END):
            is_start = op == Op.TRANSACTION_START
            return b"ENOSPC\0" if is_start and len(self._transactions) >= TRANSACTIONS_MAX else b""
        if transaction and transaction not in self._transactions:
            return b"ENOENT\0"
        if not self._rules.admits(op, payload):
            self._on_refused(op, payload)
            return b"EACCES\0"
        if op == Op.WATCH:
            if len(self._watches) >= WATCHES_MAX:
                return b"E2BIG\0"
            self._watches.add(payload)
        elif op == Op.UNWATCH:
            self._watches.discard(payload)
        return b""

    def _cut_replies(self) -> None:
        while len(self._replies) >= _HEADER.size:
            op, _, _, octets = _HEADER.unpack_from(self._replies)
            end = _HEADER.size + octets
            if len(self._replies) < end:
                return
            if op != Op.WATCH_EVENT:
                self._note_reply(op, bytes(self._replies[_HEADER.size : end]))
            self._unread += self._replies[:end]
            del self._replies[:end]

    def _note_reply(self, op: int, payload: bytes) -> None:
        if self._asked is None:
            raise ValueError("a reply to no request")
        (asked, transaction), self._asked = self._asked, None
        if asked == Op.TRANSACTION_END:
            self._transactions.discard(transaction)
        elif asked == Op.TRANSACTION_START and op != Op.ERROR:
            self._transactions.add(int(payload.rstrip(b"\0")))

    def _flush(self) -> None:
        with suppress(BlockingIOError):
            while self._unread:
                del self._unread[: self._client.send(self._unread)]


def _received(receive: Callable[[], bytes]) -> bytes:
    """Return what has arrived, or b"" for nothing. ConnectionError: this was the end."""
    try:
        octets = receive()
    except BlockingIOError:
        return b""
    if not octets:
        raise ConnectionError("closed")
    return octets
