"""The control socket: JSON lines from people's tools, checked like anything from outside.

Only root, the agent's own user and the members of a named group may use it; the mode of the socket
keeps others out. A client that sends too long a line, or does not read its answers, is
disconnected. Other clients do not notice. See docs/control.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xensnd.backoff import BackOff
from xensnd.control.messages import VERSION, decode, encode
from xensnd.errors import UsageError, XensndError
from xensnd.text import quoted

log = logging.getLogger("xensnd-dom0")

REQUEST_OCTETS_MAX = 16 * 1024
CLIENTS_MAX = 32  # of one user, so that no user can keep another out; see also `stays`
STRANGER_SECONDS = 1.0
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 1.0
UNREAD_OCTETS_MAX = 1 << 20

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59  # socket(7); Python's socket has no name for it
_GROUPS_OCTETS_MAX = 1024  # as much as Python asks for: 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end: its credentials from the kernel (SO_PEERCRED). `tell` sends it a message."""

    pid: int
    uid: int
    may_change: bool
    tell: Callable[[Mapping[str, Any]], None]


Command = Callable[[Peer, Mapping[str, Any]], Mapping[str, Any]]
"""Gets the peer and the arguments; returns the fields of the answer, or raises XensndError."""


class ControlServer:
    """`on_leave` is called for each client that has disconnected. A client that `stays` for a guest
    does not count among those that its user may have."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, Command],
        on_leave: Callable[[Peer], None],
        group: str | None = None,
        stays: Callable[[Peer], bool] = lambda _peer: False,
    ) -> None:
        self._path = path
        self._commands = commands
        self._on_leave = on_leave
        self._stays = stays
        self._group = _group(group) if group else None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._retry: asyncio.TimerHandle | None = None
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: dict[asyncio.StreamWriter, Peer] = {}

    def start(self) -> None:
        """Listen. The agent holds its lock, so an existing socket is an old one and is replaced."""
        try:
            self._listen()
        except OSError as error:
            raise UsageError(
                f"--control {self._path}: {error.strerror or error}; give a path where a socket "
                "can be made"
            ) from None

    def _listen(self) -> None:
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(self._path))
        finally:
            os.umask(mask)
        if self._group is not None:
            os.chown(self._path, -1, self._group.gr_gid)
            self._path.chmod(0o660)
        self._listener.setblocking(False)
        self._listener.listen()
        self._accept_later()

    def _accept_later(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept one client. (At the limit, asyncio's own server writes hundreds of tracebacks into
        the log each second.)"""
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no file descriptors or memory are left
            if not self._back_off.has_failed:
                log.warning("control: no client can be accepted: %s; it is tried again", error)
            loop.remove_reader(self._listener)
            self._retry = loop.call_later(self._back_off.next_seconds(), self._accept_later)
            return
        self._back_off.reset()
        task = loop.create_task(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self._path.unlink(missing_ok=True)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(
            sock=connection, limit=REQUEST_OCTETS_MAX
        )
        peer = self._peer(writer)
        others = [each for each in self._writers.values() if each.uid == peer.uid]
        if sum(not self._stays(each) for each in others) >= CLIENTS_MAX:
            writer.transport.abort()
            return
        self._writers[writer] = peer
        try:
            if not peer.may_change:
                # Read first: a client that is still sending would not get the answer.
                async with asyncio.timeout(STRANGER_SECONDS):
                    await reader.readline()
                peer.tell(_refusal(self._who_may))
                return
            while line := await reader.readline():
                peer.tell(self._answer(peer, line))
        except ValueError:  # its line has no end
            peer.tell(_refusal(f"a request must have at most {REQUEST_OCTETS_MAX} octets"))
        except (OSError, TimeoutError):
            pass
        finally:
            del self._writers[writer]
            self._on_leave(peer)
            with contextlib.suppress(OSError):
                writer.close()

    @property
    def _who_may(self) -> str:
        if self._group is None:
            return "only root and the agent's own user may use this socket"
        group = self._group.gr_name
        return f"only root, the agent's own user and the group {group} may use this socket"

    def _peer(self, writer: asyncio.StreamWriter) -> Peer:
        sock = writer.get_extra_info("socket")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(credentials)

        def tell(message: Mapping[str, Any]) -> None:
            if writer.is_closing():
                return
            writer.write(encode(message))
            if writer.transport.get_write_buffer_size() > UNREAD_OCTETS_MAX:
                log.warning(
                    "control: process %d does not read its answers; it is disconnected", pid
                )
                writer.transport.abort()

        return Peer(pid, uid, uid in {0, os.getuid()} or self._is_member(sock, gid), tell)

    def _is_member(self, sock: socket.socket, gid: int) -> bool:
        """Return whether the process is in the group, as the kernel would check it for a file."""
        if self._group is None:
            return False
        try:
            octets = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_OCTETS_MAX)
        except OSError:  # it has more
            octets = b""
        return self._group.gr_gid in {gid, *array("I", octets)}

    def _answer(self, peer: Peer, line: bytes) -> Mapping[str, Any]:
        try:
            request = decode(line)
        except ValueError:
            return _refusal("a request must be one JSON object on one line")
        if request.get("version") != VERSION:
            return _refusal(f"a request must be an object with version {VERSION}")
        command = self._commands.get(str(request.get("do")))
        if command is None:
            known = ", ".join(sorted(self._commands))
            return _refusal(
                f"unknown operation {quoted(str(request.get('do')))}; known are {known}"
            )
        try:
            return {"ok": True, **command(peer, request)}
        except (XensndError, OSError, MemoryError) as error:
            return _refusal(str(error) or "no memory is left")


def _refusal(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _group(name: str) -> grp.struct_group:
    try:
        return grp.getgrnam(name)
    except KeyError:
        raise UsageError(f"--control-group {name}: no such group; make it first") from None


def text_argument(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise UsageError(f"{name}: must be a text of 1 to 255 printable characters")
    return value


def number_argument(
    arguments: Mapping[str, Any], name: str, minimum: float, maximum: float
) -> float:
    value = arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name}: must be a number from {minimum:g} to {maximum:g}")
    if not minimum <= value <= maximum:
        raise UsageError(f"{name}: {value!s:.20} is not within {minimum:g} to {maximum:g}")
    return float(value)
