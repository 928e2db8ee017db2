"""A server on a Unix socket, inside the test's process: one thread for each client."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.support.daemon import Startable


class UnixServer(Startable):
    """A subclass serves clients, each in its own thread. It may be stopped and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clients: list[socket.socket] = []

    def serve(self, client: socket.socket) -> None:
        """Serve this client until it hangs up."""
        raise NotImplementedError

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def hang_up(self) -> None:
        """End the connections to all clients."""
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._clients.append(client)
                thread = threading.Thread(target=self._serve, args=[client])
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self.serve(client)
        self._clients.remove(client)
