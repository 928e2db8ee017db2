"""XenStore through pyxs: on Xen, on a real xenstored's socket, and on the stand-in's.

pyxs supplies the connections and the packets. Its router thread, client and monitor are not used:
they wait for ever when xenstored is gone, and spin on a watch event that nobody waits for. Here a
request waits for its reply, with a timeout, and keeps the events that arrive before it.
"""

from __future__ import annotations

import copy
import errno
import os
import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pyxs import PyXSError
from pyxs._internal import Op, Packet
from pyxs.connection import UnixSocketConnection

from xensnd.errors import TransportLost
from xensnd.transport.interface import (
    Store,
    StoreDescriptor,
    TransactionConflict,
    WatchEvent,
)

REPLY_SECONDS_MAX = 10.0
ATTEMPTS_MAX = 100  # of a transaction: a guest that keeps writing must not delay us for ever
PAYLOAD_OCTETS_MAX = 4096
# About so many events are read at a time, so that who writes without end holds up nobody else.
EVENTS_AT_ONCE = 1024
# So many requests are made of a socket before the first reply is taken. All fit into its buffer,
# and who is on its other side need not be waited for each time.
SOCKET_REQUESTS_AT_ONCE = 16
# Linux sends what was written to its device later, and has one buffer for that. A second request
# would replace what the first one asks for (xenbus_dev_frontend.c, xenbus_file_write).
XENBUS_REQUESTS_AT_ONCE = 1
DIRECTORY_PART = 22  # which pyxs does not know

_HEADER = struct.Struct("=IIII")  # operation, request, transaction, octets that follow
_PATH = re.compile(r"[-a-zA-Z0-9/_@]+")
# XENSTORE_ABS_PATH_MAX of xs_wire.h; a xenstored of Xen 4.20 calls a longer one missing.
_PATH_MAX = 3072
_ERRNO = {name.encode(): number for number, name in errno.errorcode.items()}
_ERRNO[b"EQUOTA"] = errno.EDQUOT  # as oxenstored spells it


class _Descriptor:
    """A descriptor that never blocks, as pyxs's connections expect a transport."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def send(self, data: bytes) -> None:
        if os.write(self._fd, data) != len(data):
            raise OSError(errno.EAGAIN, "accepts no requests")

    def recv(self, octets: int) -> bytes:
        return os.read(self._fd, octets)

    def close(self) -> None:
        os.close(self._fd)


def connect_socket(path: Path | str) -> StoreDescriptor:
    """Connect to the socket of xenstored or the stand-in."""
    with _lost_at(path), socket.socket(socket.AF_UNIX) as connecting:
        connecting.connect(str(path))
        fd = connecting.detach()
    os.set_blocking(fd, False)
    return StoreDescriptor(fd, PAYLOAD_OCTETS_MAX, SOCKET_REQUESTS_AT_ONCE)


def open_xenbus(path: Path | str) -> StoreDescriptor:
    """Open the kernel's device."""
    with _lost_at(path):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    os.set_blocking(fd, False)
    # The kernel's limit includes the header; it closes the device if a request is longer.
    payload_octets_max = PAYLOAD_OCTETS_MAX - _HEADER.size
    return StoreDescriptor(fd, payload_octets_max, XENBUS_REQUESTS_AT_ONCE)


@contextmanager
def _lost_at(path: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransportLost(f"XenStore at {path}: {error.strerror}") from error


class _Connection(UnixSocketConnection):  # type: ignore[misc]
    """A connection that is open already. `path` is for messages."""

    def __init__(self, fd: int, path: Path | str) -> None:
        super().__init__(str(path))
        self._open_fd = fd

    def create_transport(self) -> _Descriptor:
        return _Descriptor(self._open_fd)


class _Failure(NamedTuple):
    """XenStore answered with the error of this name."""

    name: bytes


class _Wire:
    """One connection: requests, their replies, and events that arrive meanwhile."""

    def __init__(
        self,
        connection: UnixSocketConnection,
        timeout: float,
        payload_octets_max: int,
        requests_at_once: int,
    ) -> None:
        self.watches: set[tuple[str, str]] = set()
        self._connection = connection
        self._timeout = timeout
        self._payload_octets_max = payload_octets_max
        self._requests_at_once = requests_at_once
        self._lost = ""
        self._request = 0
        self._received = bytearray()
        self._replies: deque[tuple[int, int, bytes]] = deque()  # operation, request, payload
        self._events: dict[bytes, int] = {}  # their payloads, and how often each came
        with ExitStack() as opened:
            try:
                connection.connect()
                opened.callback(connection.close)
                self._ready = select.epoll()
                opened.callback(self._ready.close)
                self._kept = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # events, or the loss
            except OSError as error:
                raise TransportLost(f"XenStore at {connection.path}: {error.strerror}") from error
            opened.pop_all()
        self._ready.register(connection.fileno(), select.EPOLLIN)
        self._ready.register(self._kept, select.EPOLLIN)

    def fileno(self) -> int:
        return self._ready.fileno()

    def call(
        self, op: int, payloads: Sequence[bytes], transaction: int
    ) -> Sequence[bytes | _Failure]:
        """Make all requests, as many at a time as may be, and return the replies."""
        self._require_alive()
        if any(len(payload) > self._payload_octets_max for payload in payloads):
            raise OSError(errno.E2BIG, f"more than {self._payload_octets_max} octets for XenStore")
        replies: list[bytes | _Failure] = []
        for start in range(0, len(payloads), self._requests_at_once):
            some = payloads[start : start + self._requests_at_once]
            numbers = [self._send(op, payload, transaction) for payload in some]
            deadline = time.monotonic() + self._timeout
            replies += [self._reply(number, deadline) for number in numbers]
        return replies

    def _send(self, op: int, payload: bytes, transaction: int) -> int:
        self._request = (self._request + 1) & 0xFFFF_FFFF
        packet = Packet(Op.READ, payload, self._request, transaction)._replace(op=op)
        try:
            self._connection.send(packet)
        except (PyXSError, OSError) as error:
            raise self._lose("accepts no requests") from error
        return self._request

    def _reply(self, number: int, deadline: float) -> bytes | _Failure:
        """Return the reply to the request of this number. They come in order."""
        while not self._replies:
            self._wait_until(deadline)
            self._receive()
        answered, request, content = self._replies.popleft()
        if request != number:
            raise self._lose("answered a request that was not made")
        return _Failure(content.rstrip(b"\0")) if answered == Op.ERROR else content

    def events(self) -> list[WatchEvent]:
        self._require_alive()
        while sum(self._events.values()) < EVENTS_AT_ONCE and self._receive():
            pass
        if self._replies:
            raise self._lose("answered a request that was not made")
        with suppress(BlockingIOError):
            os.eventfd_read(self._kept)
        kept, self._events = self._events, {}
        events = [_event(payload, times) for payload, times in kept.items()]
        tokens = {token for _, token in self.watches}
        return [event for event in events if event.token in tokens]

    def close(self) -> None:
        if not self._ready.closed:
            self._lost = self._lost or "closed here"
            self._connection.close()
            self._ready.close()
            os.close(self._kept)

    def _require_alive(self) -> None:
        if self._lost:
            raise TransportLost(f"XenStore at {self._connection.path}: {self._lost}")

    def _lose(self, why: str) -> TransportLost:
        self._lost = why
        self._connection.close()
        os.eventfd_write(self._kept, 1)
        return TransportLost(f"XenStore at {self._connection.path}: {why}")

    def _wait_until(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            raise self._lose(f"no answer within {self._timeout:g} s")

    def _receive(self) -> bool:
        """Receive without blocking. Returns False if nothing has arrived."""
        try:
            octets = self._connection.transport.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lose(error.strerror or "broken") from error
        if not octets:
            raise self._lose("the connection was closed")
        self._received += octets
        self._cut_packets()
        return True

    def _cut_packets(self) -> None:
        """Cut the received octets into packets, and keep replies and events apart."""
        start = 0
        while len(self._received) >= start + _HEADER.size:
            op, request, _, octets = _HEADER.unpack_from(self._received, start)
            end = start + _HEADER.size + octets
            if len(self._received) < end:
                break
            payload = bytes(self._received[start + _HEADER.size : end])
            start = end
            if op == Op.WATCH_EVENT:
                self._keep(payload)
            else:
                self._replies.append((op, request, payload))
        del self._received[:start]

    def _keep(self, event: bytes) -> None:
        if not self._events:
            os.eventfd_write(self._kept, 1)
        self._events[event] = self._events.get(event, 0) + 1


class XenStore(Store):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._transaction = 0

    @classmethod
    def over_socket(cls, path: Path | str, *, timeout: float = REPLY_SECONDS_MAX) -> XenStore:
        """Connect to the socket of xenstored or the stand-in. `timeout`: for a reply, in
        seconds."""
        return cls.over_descriptor(connect_socket(path), str(path), timeout=timeout)

    @classmethod
    def over_xenbus(cls, path: Path | str, *, timeout: float = REPLY_SECONDS_MAX) -> XenStore:
        """Open the kernel's device."""
        return cls.over_descriptor(open_xenbus(path), str(path), timeout=timeout)

    @classmethod
    def over_descriptor(
        cls, store: StoreDescriptor, path: str, *, timeout: float = REPLY_SECONDS_MAX
    ) -> XenStore:
        """Use a connection that is open already, and is closed with the store. `path` is for
        messages."""
        connection = _Connection(store.fd, path)
        return cls(_Wire(connection, timeout, store.payload_octets_max, store.requests_at_once))

    def read(self, path: str) -> str:
        return _decoded(self._on_path(Op.READ, path))

    def read_each(self, paths: Sequence[str]) -> list[str | None]:
        payloads = [_payload(path) for path in paths]
        answers = self._wire.call(Op.READ, payloads, self._transaction)
        values: list[str | None] = []
        for path, answer in zip(paths, answers, strict=True):
            try:
                values.append(_decoded(_content(answer, path)))
            except KeyError:
                values.append(None)
        return values

    def write(self, path: str, value: str) -> None:
        self.write_each({path: value})

    def write_each(self, nodes: Mapping[str, str]) -> None:
        payloads = [
            _payload(path, value.encode(errors="backslashreplace")) for path, value in nodes.items()
        ]
        answers = self._wire.call(Op.WRITE, payloads, self._transaction)
        for path, answer in zip(nodes, answers, strict=True):
            _content(answer, path)

    def list(self, path: str) -> list[str]:
        try:
            names = self._on_path(Op.DIRECTORY, path)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            names = self._long_directory(path)
        return [_decoded(name) for name in names.split(b"\0")[:-1]]

    def _long_directory(self, path: str) -> bytes:
        """Read a long directory in parts, and from the start again if it changes meanwhile."""
        names, before = b"", b""
        while not names.endswith(b"\0\0"):
            part = self._on_path(DIRECTORY_PART, path, b"%d\0" % len(names))
            generation, _, more = part.partition(b"\0")
            if before not in (b"", generation):
                names, before = b"", b""
                continue
            names, before = names + more, generation
        return names[:-1]

    def remove(self, path: str) -> None:
        with suppress(KeyError):
            self._on_path(Op.RM, path)

    def mkdir(self, path: str) -> None:
        self._on_path(Op.MKDIR, path)

    def get_permissions(self, path: str) -> Sequence[str]:
        return self._on_path(Op.GET_PERMS, path).decode().split("\0")[:-1]

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        self._on_path(Op.SET_PERMS, path, "".join(f"{word}\0" for word in permissions).encode())

    @contextmanager
    def transaction(self) -> Iterator[Store]:
        view = copy.copy(self)
        view._transaction = int(self._call(Op.TRANSACTION_START, b"\0").rstrip(b"\0"))
        try:
            yield view
        except BaseException:
            with suppress(TransportLost, OSError, KeyError):
                view._call(Op.TRANSACTION_END, b"F\0")
            raise
        try:
            view._call(Op.TRANSACTION_END, b"T\0")
        except BlockingIOError as error:  # EAGAIN
            raise TransactionConflict("others wrote the same nodes meanwhile") from error

    def transactions(self) -> Iterator[AbstractContextManager[Store]]:
        for number in range(1, ATTEMPTS_MAX + 1):
            attempt = _Attempt(self.transaction, last=number == ATTEMPTS_MAX)
            yield attempt
            if attempt.committed:
                return

    def watch(self, path: str, token: str) -> None:
        if (path, token) not in self._wire.watches:
            self._on_path(Op.WATCH, path, _token(token))
            self._wire.watches.add((path, token))

    def unwatch(self, path: str, token: str) -> None:
        if (path, token) not in self._wire.watches:
            raise KeyError(path)  # the kernel's device would report no error
        self._on_path(Op.UNWATCH, path, _token(token))
        self._wire.watches.discard((path, token))

    def events(self) -> Sequence[WatchEvent]:
        return self._wire.events()

    def fileno(self) -> int:
        return self._wire.fileno()

    def close(self) -> None:
        self._wire.close()

    def introduce(self, domid: int) -> None:
        """Allow a domain to use XenStore, as a toolstack does. Fires @introduceDomain."""
        self._call(Op.INTRODUCE, b"%d\0001\0001\0" % domid)

    def release(self, domid: int) -> None:
        """Tell XenStore that a domain is gone, as a toolstack does. Fires @releaseDomain."""
        self._call(Op.RELEASE, b"%d\0" % domid, f"dom{domid}")

    def _on_path(self, op: int, path: str, rest: bytes = b"") -> bytes:
        return self._call(op, _payload(path, rest), path)

    def _call(self, op: int, payload: bytes, subject: str | None = None) -> bytes:
        (answer,) = self._wire.call(op, [payload], self._transaction)
        return _content(answer, subject)


class _Attempt(AbstractContextManager[Store]):
    """One attempt of a transaction: a conflict is no error, unless it is the last one."""

    def __init__(self, start: Callable[[], AbstractContextManager[Store]], *, last: bool) -> None:
        self.committed = False
        self._transaction = start()
        self._last = last

    def __enter__(self) -> Store:
        return self._transaction.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._transaction.__exit__(kind, error, traceback)
        except TransactionConflict:
            if self._last:
                raise
        else:
            self.committed = kind is None


def _payload(path: str, rest: bytes = b"") -> bytes:
    if not _PATH.fullmatch(path) or len(path) > _PATH_MAX:
        raise OSError(errno.EINVAL, "not a XenStore path", path)
    return path.encode() + b"\0" + rest


def _content(answer: bytes | _Failure, subject: str | None) -> bytes:
    """Return what XenStore has answered about this subject, or raise the error."""
    if isinstance(answer, bytes):
        return answer
    if answer.name == b"ENOENT":
        raise KeyError(subject)
    number = _ERRNO.get(answer.name, errno.EIO)
    is_known = answer.name in _ERRNO
    text = os.strerror(number) if is_known else f"XenStore says {_decoded(answer.name)}"
    raise OSError(number, text, subject)


def _token(token: str) -> bytes:
    if "\0" in token:
        raise OSError(errno.EINVAL, "the token of a watch has a NUL", token)
    return token.encode(errors="backslashreplace") + b"\0"


def _event(payload: bytes, times: int) -> WatchEvent:
    path, token, *_ = (*payload.split(b"\0"), b"", b"")
    return WatchEvent(_decoded(path), _decoded(token), times)


def _decoded(octets: bytes) -> str:
    """Return the octets as text, with escapes for what is not printable ASCII."""
    if octets.isascii() and (text := octets.decode("ascii")).isprintable():
        return text
    return "".join(chr(each) if 0x20 <= each < 0x7F else f"\\x{each:02x}" for each in octets)
