"""The transport on one machine without Xen, for clients of the stand-in (xensnd.localxen).

`xensnd-localxen DIR serve` is the stand-in's process. Pages are memfds and event channels are pairs
of eventfds; the stand-in creates both and sends them over a socket.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xensnd.errors import LocalProtocolError, RemoteProtocolError, TransportLost, UsageError
from xensnd.transport.interface import (
    EventChannel,
    EventFds,
    Handed,
    Pages,
    Receiver,
    StoreDescriptor,
    Transport,
    map_handed,
    require_u32,
)
from xensnd.transport.local.memory import Page, PageMapping
from xensnd.transport.local.protocol import VERSION
from xensnd.transport.pages import MappedPages
from xensnd.transport.xenstore import XenStore, connect_socket

REPLY_SECONDS_MAX = 10.0
_REPLY_OCTETS_MAX = 1 << 16
_FDS_IN_A_REPLY_MAX = 253  # SCM_MAX_FD


class LocalTransport(Transport):
    """A client of the stand-in that serves `directory`. `domain` names a guest; None: domain 0."""

    def __init__(self, directory: Path | str, domain: str | None = None) -> None:
        self._directory = Path(directory)
        self._hypervisor = _Connection(self._directory)
        try:
            hello = self._hypervisor.call("hello", version=VERSION, domain=domain)[0]
        except BaseException:
            self.close()
            raise
        self._domid = int(hello["domid"])
        self._store_path = str(hello["store"])

    @property
    def domid(self) -> int:
        return self._domid

    @property
    def runtime_directory(self) -> Path:
        path = self._directory / f"dom{self._domid}"
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def open_store(self) -> XenStore:
        return XenStore.over_socket(self._store_path)

    def connect_store(self) -> StoreDescriptor:
        return connect_socket(self._store_path)

    def share_pages(self, peer_domid: int, count: int) -> Pages:
        reply, fds = self._hypervisor.call("share", peer=peer_domid, count=count)
        first = int(reply["first_ref"])
        with _closing(fds):
            mapping = PageMapping([Page(fds[0], index) for index in range(count)], writable=True)

        def end() -> None:
            mapping.close()
            with suppress(TransportLost):
                self._hypervisor.call("end_share", first_ref=first)

        return MappedPages(mapping.address, range(first, first + count), end)

    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        return map_handed(self, LocalReceiver(), peer_domid, refs, writable=writable)

    def hand_pages(self, peer_domid: int, refs: Sequence[int]) -> Handed:
        for ref in refs:
            require_u32(peer_domid, "page", ref)
        reply, fds = self._hypervisor.call("map", peer=peer_domid, refs=list(refs))
        return Handed(fds, {"pages": reply["pages"]})

    def hand_channel(self, peer_domid: int, peer_port: int) -> Handed:
        require_u32(peer_domid, "event channel", peer_port)
        reply, fds = self._hypervisor.call("bind", peer=peer_domid, port=peer_port)
        return Handed(fds, {"port": reply["port"]})

    def end_channel(self, port: int) -> None:
        with suppress(TransportLost):  # if the stand-in is gone, it has ended already
            self._hypervisor.call("end_channel", port=port)

    def bind_lasting_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        return self.bind_channel(peer_domid, peer_port)

    def end_lasting_channel(self, peer_domid: int, peer_port: int) -> None:
        """It has ended when it was closed: no other process has bound it."""

    def allocate_channel(self, peer_domid: int) -> EventChannel:
        reply, fds = self._hypervisor.call("allocate", peer=peer_domid)
        return self._channel(Handed(fds, {"port": reply["port"]}))

    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        return self._channel(self.hand_channel(peer_domid, peer_port))

    def close(self) -> None:
        self._hypervisor.close()

    def is_channel_bound(self, port: int) -> bool:
        """Return whether the peer has bound a channel that this domain has allocated."""
        return bool(self._hypervisor.call("channel_status", port=port)[0]["is_bound"])

    # For domain 0's toolstack

    def create_domain(self, name: str) -> int:
        """Create a domain without nodes in the store. Returns its domid."""
        return int(self._hypervisor.call("create", name=name)[0]["domid"])

    def destroy_domain(self, name: str) -> int:
        return int(self._hypervisor.call("destroy", name=name)[0]["domid"])

    def domains(self) -> dict[str, int]:
        """Return the domids by name."""
        return dict(self._hypervisor.call("domains")[0]["domains"])

    def _channel(self, handed: Handed) -> EventChannel:
        port = int(handed.layout["port"])
        return LocalReceiver().receive_channel(handed, lambda: self.end_channel(port))


class LocalReceiver(Receiver):
    @property
    def ioctls(self) -> Sequence[int]:
        return ()

    def receive_pages(
        self, peer_domid: int, refs: Sequence[int], handed: Sequence[Handed], *, writable: bool
    ) -> Pages:
        pages = [
            Page(each.fds[which], number)
            for each in handed
            for which, number in each.layout["pages"]
        ]
        try:
            mapping = PageMapping(pages, writable=writable)
        except ValueError as error:
            raise RemoteProtocolError(f"dom{peer_domid} offers {error}") from error
        finally:
            for each in handed:
                each.close()
        return MappedPages(mapping.address, tuple(refs), mapping.close)

    def receive_channel(self, handed: Handed, end: Callable[[], None]) -> EventChannel:
        wait_fd, notify_fd = handed.fds
        return _LocalChannel(int(handed.layout["port"]), wait_fd, notify_fd, end)


class _LocalChannel(EventChannel):
    def __init__(self, port: int, wait_fd: int, notify_fd: int, end: Callable[[], None]) -> None:
        self._port = port
        self._fds = EventFds(wait_fd, notify_fd)
        self._end = end
        self._open = True

    @property
    def port(self) -> int:
        return self._port

    @property
    def fds(self) -> EventFds:
        return self._fds

    def notify(self) -> None:
        with suppress(BlockingIOError):  # full: the peer has far more than one event to see
            os.eventfd_write(self._fds.notify_fd, 1)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._fds.wait_fd)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._fds.wait_fd)
            os.close(self._fds.notify_fd)
            self._end()


class _Connection:
    """A connection to the stand-in: one request and its reply at a time, from any thread."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "hypervisor"
        self._turn = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(REPLY_SECONDS_MAX)
        try:
            self._socket.connect(str(self._path))
        except OSError as error:
            self._socket.close()
            raise TransportLost(
                f"no stand-in serves {directory}: {error.strerror or error}"
                f" (start it with: xensnd-localxen {directory} serve)"
            ) from error

    def call(self, op: str, **arguments: object) -> tuple[dict[str, Any], list[int]]:
        """Return the reply and its descriptors, which the caller closes."""
        request = json.dumps({"op": op, **arguments}).encode()
        with self._turn:
            try:
                self._socket.send(request)
                octets, fds, flags, _ = socket.recv_fds(
                    self._socket, _REPLY_OCTETS_MAX, _FDS_IN_A_REPLY_MAX
                )
            except OSError as error:
                self._socket.close()
                raise TransportLost(f"{self._path}: {error.strerror or error}") from error
        if not octets:
            self.close()
            raise TransportLost(f"{self._path}: the connection was closed")
        reply = json.loads(octets)
        if "refused" in reply:
            raise _REFUSALS[reply["refused"]](reply["text"])
        if flags & socket.MSG_CTRUNC:
            self._give_back(reply, fds)
            raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: {op}")
        return reply, fds

    def _give_back(self, reply: dict[str, Any], fds: list[int]) -> None:
        """Return what came without room for all of its descriptors."""
        for fd in fds:
            os.close(fd)
        if "port" in reply:
            self.call("end_channel", port=reply["port"])
        if "first_ref" in reply:
            self.call("end_share", first_ref=reply["first_ref"])

    def close(self) -> None:
        self._socket.close()


_REFUSALS: dict[str, type[Exception]] = {
    "peer": RemoteProtocolError,
    "usage": UsageError,
    "client": LocalProtocolError,
    "limit": OSError,
}


@contextmanager
def _closing(fds: list[int]) -> Iterator[None]:
    """Close, at the end of the block, the descriptors that are in the list then."""
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)
