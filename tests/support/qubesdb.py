"""QubesDB as a test needs it: a daemon that speaks its wire, and Qubes' own part in what is in it.

Written after qubes-core-qubesdb (include/qubesdb.h, daemon/db-cmds.c) and after what qubesd's
extension for dom0:mic does with it (qubesguidaemon/mic.py).
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

from tests.support.raw_frontend import eventually
from tests.support.unix_server import UnixServer

READ, WRITE, RM, WATCH = 0, 1, 4, 5
OK, NO_ENTRY, ERROR, VALUE, CHANGED = 7, 8, 9, 10, 13
HEADER = struct.Struct("=B64s3xI")


class QubesDbDaemon(UnixServer):
    """Its entries stay when it is stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._entries: dict[str, str] = {}
        self._lock = threading.RLock()
        self._watched: dict[socket.socket, list[str]] = {}  # by each client
        self.is_read_only = False

    # What others do with it

    def get(self, path: str) -> str | None:
        with self._lock:
            return self._entries.get(path)

    def put(self, path: str, value: str) -> None:
        with self._lock:
            self._entries[path] = value
            self._fire(path)

    def remove(self, path: str) -> None:
        with self._lock:
            if self._entries.pop(path, None) is not None:
                self._fire(path)

    # qubesd's part

    def attach_mic(self, qube: str) -> None:
        self.put(f"/audio-input-config/{qube}", "1")

    def detach_mic(self, qube: str) -> None:
        self.put(f"/audio-input-config/{qube}", "0")

    def qube_starts(self, qube: str) -> None:
        for name in ("audio-input-config", "audio-input", "audio-input-request"):
            self.remove(f"/{name}/{qube}")

    def mic_of(self, qube: str) -> tuple[str | None, str | None, str | None]:
        """Attached, actual, wanted."""
        names = ("audio-input-config", "audio-input", "audio-input-request")
        with self._lock:
            config, actual, request = (self.get(f"/{name}/{qube}") for name in names)
        return config, actual, request

    def await_mic(self, qube: str, *, attached: bool) -> None:
        """As Qubes shows it, and as the agent says that it is."""
        word = "1" if attached else "0"
        assert eventually(lambda: self.mic_of(qube)[:2] == (word, word)), self.mic_of(qube)

    # The wire

    def _fire(self, path: str) -> None:
        for client, watched in list(self._watched.items()):
            for each in watched:
                if path == each or (each.endswith("/") and path.startswith(each)):
                    with suppress(OSError):
                        client.sendall(_message(CHANGED, path))

    def serve(self, client: socket.socket) -> None:
        self._watched[client] = []
        with client.makefile("rb") as stream, suppress(OSError):
            while len(header := stream.read(HEADER.size)) == HEADER.size:
                kind, raw_path, octets = HEADER.unpack(header)
                path = raw_path.split(b"\0")[0].decode()
                data = stream.read(octets).decode()
                with self._lock:
                    self._answer(client, kind, path, data)
        with self._lock:
            del self._watched[client]

    def _answer(self, client: socket.socket, kind: int, path: str, data: str) -> None:
        if kind == READ:
            value = self._entries.get(path)
            answer = NO_ENTRY if value is None else VALUE
            client.sendall(_message(answer, path, value or ""))
        elif kind == WRITE and not self.is_read_only:
            client.sendall(_message(OK, path))
            self.put(path, data)
        elif kind == WATCH:
            self._watched[client].append(path)
            client.sendall(_message(OK, path))
        else:
            client.sendall(_message(ERROR, path))


def _message(kind: int, path: str, data: str = "") -> bytes:
    return HEADER.pack(kind, path.encode(), len(data)) + data.encode()
