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

from tests.support.daemon import Startable
from tests.support.raw_frontend import eventually

READ, WRITE, RM, WATCH = 0, 1, 4, 5
OK, NO_ENTRY, ERROR, VALUE, CHANGED = 7, 8, 9, 10, 13
HEADER = struct.Struct("=B64s3xI")


class QubesDbDaemon(Startable):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, str] = {}
        self._lock = threading.RLock()
        self._clients: dict[socket.socket, list[str]] = {}  # and what each watches
        self.is_read_only = False

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        """Its entries stay, for the next start."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

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
        for client, watched in list(self._clients.items()):
            for each in watched:
                if path == each or (each.endswith("/") and path.startswith(each)):
                    with suppress(OSError):
                        client.sendall(_message(CHANGED, path))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._clients[client] = []
                thread = threading.Thread(target=self._serve, args=[client])
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, suppress(OSError):
            while len(header := stream.read(HEADER.size)) == HEADER.size:
                kind, raw_path, octets = HEADER.unpack(header)
                path = raw_path.split(b"\0")[0].decode()
                data = stream.read(octets).decode()
                with self._lock:
                    self._answer(client, kind, path, data)
        with self._lock:
            del self._clients[client]

    def _answer(self, client: socket.socket, kind: int, path: str, data: str) -> None:
        if kind == READ:
            value = self._entries.get(path)
            answer = NO_ENTRY if value is None else VALUE
            client.sendall(_message(answer, path, value or ""))
        elif kind == WRITE and not self.is_read_only:
            client.sendall(_message(OK, path))
            self.put(path, data)
        elif kind == WATCH:
            self._clients[client].append(path)
            client.sendall(_message(OK, path))
        else:
            client.sendall(_message(ERROR, path))


def _message(kind: int, path: str, data: str = "") -> bytes:
    return HEADER.pack(kind, path.encode(), len(data)) + data.encode()
