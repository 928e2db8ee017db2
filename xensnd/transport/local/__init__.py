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
    Pages,
    StoreDescriptor,
    Transport,
    require_u32,
)
from xensnd.transport.local.memory import Mapping, Page
from xensnd.transport.local.protocol import REFS_IN_A_REQUEST_MAX, VERSION
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

    @property
    def devices(self) -> Sequence[Path]:
        return ()

    @property
    def ioctls(self) -> Sequence[int]:
        return ()

    @property
    def may_be_restored(self) -> bool:
        return False

    def open_store(self) -> XenStore:
        return XenStore.over_socket(self._store_path)

    def connect_store(self) -> StoreDescriptor:
        return connect_socket(self._store_path)

    def share_pages(self, peer_domid: int, count: int) -> Pages:
        reply, fds = self._hypervisor.call("share", peer=peer_domid, count=count)
        first = int(reply["first_ref"])
        with _closing(fds):
            mapping = Mapping([Page(fds[0], index) for index in range(count)], writable=True)
        return _LocalPages(
            mapping, range(first, first + count), self._ender("end_share", first_ref=first)
        )

    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        if not refs:
            raise LocalProtocolError(f"no page of dom{peer_domid} to map")
        for ref in refs:
            require_u32(peer_domid, "page", ref)
        pages: list[Page] = []
        fds: list[int] = []
        with _closing(fds):
            for start in range(0, len(refs), REFS_IN_A_REQUEST_MAX):
                some = list(refs[start : start + REFS_IN_A_REQUEST_MAX])
                reply, new_fds = self._hypervisor.call("map", peer=peer_domid, refs=some)
                fds += new_fds
                pages += [Page(new_fds[which], index) for which, index in reply["pages"]]
            try:
                mapping = Mapping(pages, writable=writable)
            except ValueError as error:
                raise RemoteProtocolError(f"dom{peer_domid} offers {error}") from error
        return _LocalPages(mapping, tuple(refs), lambda: None)

    def allocate_channel(self, peer_domid: int) -> EventChannel:
        return self._channel(*self._hypervisor.call("allocate", peer=peer_domid))

    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        require_u32(peer_domid, "event channel", peer_port)
        return self._channel(*self._hypervisor.call("bind", peer=peer_domid, port=peer_port))

    def close(self) -> None:
        self._hypervisor.close()

    # For domain 0's toolstack

    def create_domain(self, name: str) -> int:
        """Create a domain without nodes in the store. Returns its domid."""
        return int(self._hypervisor.call("create", name=name)[0]["domid"])

    def destroy_domain(self, name: str) -> int:
        return int(self._hypervisor.call("destroy", name=name)[0]["domid"])

    def domains(self) -> dict[str, int]:
        """Return the domids by name."""
        return dict(self._hypervisor.call("domains")[0]["domains"])

    def _channel(self, reply: dict[str, Any], fds: list[int]) -> EventChannel:
        port = int(reply["port"])
        return _LocalChannel(port, fds[0], fds[1], self._ender("end_channel", port=port))

    def _ender(self, op: str, **arguments: int) -> Callable[[], None]:
        """Return a function that ends a share or channel. If the stand-in is gone, it has ended
        already."""

        def end() -> None:
            with suppress(TransportLost):
                self._hypervisor.call(op, **arguments)

        return end


class _LocalPages(Pages):
    def __init__(self, mapping: Mapping, refs: Sequence[int], end: Callable[[], None]) -> None:
        self._mapping = mapping
        self._refs = refs
        self._end = end

    @property
    def address(self) -> int:
        return self._mapping.address

    @property
    def octets(self) -> int:
        return self._mapping.octets

    @property
    def refs(self) -> Sequence[int]:
        return self._refs

    def close(self) -> None:
        if self._mapping.octets:
            self._mapping.close()
            self._end()


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
        """What came without room for all of its descriptors."""
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
