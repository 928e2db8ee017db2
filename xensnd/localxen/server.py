"""The process of the stand-in: it serves hypervisor and store on sockets in a directory.

    DIR/hypervisor             grants, event channels, domains
    DIR/xenstored/socket       the store, as domain 0
    DIR/domN/xenstore          the store, as domain N: with its rights, relative to its own path

Everything runs in one thread. Clients may be hostile: one that breaks the protocol, or does not
read what it is sent, loses its connection, and no other client notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

from xensnd.errors import UsageError
from xensnd.localxen.hypervisor import Hypervisor
from xensnd.localxen.store.nodes import StoreConnection
from xensnd.localxen.store.standin import StandInStore
from xensnd.localxen.store.wire import MalformedPacket, Packet, PacketBuffer
from xensnd.localxen.toolstack import describe_domain0
from xensnd.transport.local.protocol import REQUEST_OCTETS_MAX
from xensnd.transport.xenstore import XenStore

REQUESTS_IN_A_ROW = 32  # then it is another client's turn
UNSENT_OCTETS_MAX = 4 << 20  # to a guest; domain 0 is trusted with more
UNSENT_OCTETS_MAX_DOM0 = 64 << 20
CLIENTS_OF_A_SOCKET_MAX = 64
SESSIONS_MAX = 1024
ACCEPT_AGAIN_SECONDS = 0.1
SOCKET_PATH_OCTETS_MAX = 107  # sun_path of struct sockaddr_un, with its NUL


class StoreClient(asyncio.Protocol):
    """A connection to the store, with the rights of the socket's domain."""

    def __init__(self, store: StandInStore, domid: int, others: set[StoreClient]) -> None:
        self._store = store
        self._domid = domid
        self._others = others
        self._buffer = PacketBuffer()
        self._writable = True
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connection: StoreConnection | None = None
        self._others.add(self)
        if len(self._others) > CLIENTS_OF_A_SOCKET_MAX:
            self.drop()
        else:
            self._connection = self._store.connect(self._domid, self._send)

    def data_received(self, data: bytes) -> None:
        self._buffer.feed(data)
        if not self._scheduled:
            self._serve()

    def pause_writing(self) -> None:
        """The client does not read: its requests wait until it does."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if not self._scheduled:
            self._serve()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._others.discard(self)
        if self._connection:
            self._store.disconnect(self._connection)
            self._connection = None

    def drop(self) -> None:
        self._transport.abort()

    def _serve(self) -> None:
        self._scheduled = False
        for _ in range(REQUESTS_IN_A_ROW):
            if not self._connection or not self._writable:
                return
            try:
                packet = self._buffer.next()
            except MalformedPacket:
                self.drop()
                return
            if packet is None:
                self._transport.resume_reading()
                return
            self._store.handle(self._connection, packet)
        self._transport.pause_reading()
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._serve)

    def _send(self, packet: Packet) -> None:
        limit = UNSENT_OCTETS_MAX if self._domid else UNSENT_OCTETS_MAX_DOM0
        if self._transport.get_write_buffer_size() > limit:
            self.drop()
        else:
            self._transport.write(bytes(packet))


class LocalServer:
    def __init__(self, directory: Path, store: Path | None) -> None:
        self._directory = directory
        self._own_store = store is None
        self._store_path = store or directory / "xenstored" / "socket"
        self._hypervisor = Hypervisor(lambda domid: str(self._store_socket(domid)))
        self._store = StandInStore(self._hypervisor.exists)
        self._stack = contextlib.ExitStack()
        self._guests: dict[int, contextlib.ExitStack] = {}
        self._closers: set[Callable[[], None]] = set()  # of the hypervisor's connections

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        _allow_many_files()
        with self._stack:
            self._serve_hypervisor()
            self._hypervisor.on_created = self._make_directory
            if self._own_store:
                self._store.on_introduced = self._serve_guest
                self._store.on_released = self._close_guest
                self._serve_store(0, self._stack)
            await asyncio.to_thread(self._describe_domain0)
            ready()
            await ended.wait()
            for domid in list(self._guests):
                self._close_guest(domid)

    def _store_socket(self, domid: int) -> Path:
        if domid == 0 or not self._own_store:
            return self._store_path
        return self._directory / f"dom{domid}" / "xenstore"

    def _make_directory(self, domid: int) -> None:
        (self._directory / f"dom{domid}").mkdir(exist_ok=True)

    def _describe_domain0(self) -> None:
        with closing(XenStore.over_socket(self._store_path)) as store:
            describe_domain0(store)

    # The store

    def _serve_guest(self, domid: int) -> None:
        self._guests[domid] = stack = contextlib.ExitStack()
        self._make_directory(domid)
        self._serve_store(domid, stack)

    def _close_guest(self, domid: int) -> None:
        self._guests.pop(domid).close()

    def _serve_store(self, domid: int, stack: contextlib.ExitStack) -> None:
        listener = _listen(self._store_socket(domid), socket.SOCK_STREAM, stack)
        loop = asyncio.get_running_loop()
        clients: set[StoreClient] = set()
        starting = loop.create_task(
            loop.create_unix_server(lambda: StoreClient(self._store, domid, clients), sock=listener)
        )

        def stop() -> None:
            if starting.done():
                starting.result().close()
            else:
                starting.cancel()
            for client in list(clients):
                client.drop()

        stack.callback(stop)

    # The hypervisor

    def _serve_hypervisor(self) -> None:
        listener = _listen(self._directory / "hypervisor", socket.SOCK_SEQPACKET, self._stack)
        loop = asyncio.get_running_loop()

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptor left: leave it in the queue for a moment
                loop.remove_reader(listener)
                loop.call_later(ACCEPT_AGAIN_SECONDS, resume)
                return
            connection.setblocking(False)
            self._attach_session(connection)

        def resume() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener, accept)

        resume()
        self._stack.callback(self._close_sessions)
        self._stack.callback(loop.remove_reader, listener)

    def _attach_session(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()

        def close() -> None:
            if connection.fileno() >= 0:
                loop.remove_reader(connection)
                connection.close()
                self._hypervisor.disconnect(session)
                self._closers.discard(close)

        def answer() -> None:
            try:
                request, _, flags, _ = connection.recvmsg(REQUEST_OCTETS_MAX)
                if not request or flags & socket.MSG_TRUNC:
                    close()
                    return
                reply, fds = self._hypervisor.handle(session, request)
                if connection.fileno() >= 0:
                    socket.send_fds(connection, [reply], fds)
            except OSError:  # gone, or does not take its replies
                close()

        session = self._hypervisor.connect(close)
        self._closers.add(close)
        if len(self._closers) > SESSIONS_MAX:
            close()
        else:
            loop.add_reader(connection, answer)

    def _close_sessions(self) -> None:
        for close in list(self._closers):
            close()


def _listen(path: Path, kind: socket.SocketKind, stack: contextlib.ExitStack) -> socket.socket:
    if len(str(path).encode()) > SOCKET_PATH_OCTETS_MAX:
        raise UsageError(
            f"{path}: {len(str(path).encode())} octets are too long for a socket's path,"
            f" limit {SOCKET_PATH_OCTETS_MAX}; choose a shorter directory"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
    with suppress(FileNotFoundError):
        path.unlink()
    listener.bind(str(path))
    stack.callback(path.unlink, missing_ok=True)
    listener.listen()
    listener.setblocking(False)
    return listener


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
