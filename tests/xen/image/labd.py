"""Runs commands for the lab, in dom0 and in each guest. Baked into the images; Python alone.

One connection is one process. It begins with a line of JSON, {"argv": [...], "env": {...}}, then
come frames both ways: kind (1 octet), length (4 octets, little-endian), payload.

    to us     0: standard input, empty at its end    1: a signal, its number in digits
    from us   0: standard output    1: standard error    2: exit status in digits, the last

With the connection its process ends, and all that it started in its group. A line with
"via": ADDRESS is handed on, without that key, to the same program there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import threading
from contextlib import suppress
from typing import IO, Any

PORT = 7000
HEADER = struct.Struct("<BI")
STDIN, SIGNAL = 0, 1
STDOUT, STDERR, EXIT = 0, 1, 2
# Of a process that ended: a daemon that it left behind may keep its pipes open for ever.
LAST_WORDS_SECONDS = 1.0


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked has gone
            request = json.loads(self.rfile.readline() or b"null")
            if request is None:  # who wants to know whether we are up sends null
                self.wfile.write(b"labd\n")
            elif via := request.pop("via", None):
                self._hand_on(via, request)
            else:
                self._run(request)

    def _run(self, request: dict[str, Any]) -> None:
        lock = threading.Lock()

        def send(kind: int, payload: bytes) -> None:
            with lock, suppress(OSError):
                self.wfile.write(HEADER.pack(kind, len(payload)) + payload)

        def pass_on(pipe: IO[bytes], kind: int) -> None:
            while octets := os.read(pipe.fileno(), 1 << 16):
                send(kind, octets)

        def wait() -> None:
            process.wait()
            for reader in readers:
                reader.join(LAST_WORDS_SECONDS)
            send(EXIT, b"%d" % process.returncode)

        try:
            process = subprocess.Popen(
                request["argv"],
                env={**os.environ, **request.get("env", {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            send(STDERR, str(error).encode())
            send(EXIT, b"127")
            return
        assert process.stdin
        assert process.stdout
        assert process.stderr
        readers = [
            threading.Thread(target=pass_on, args=(process.stdout, STDOUT), daemon=True),
            threading.Thread(target=pass_on, args=(process.stderr, STDERR), daemon=True),
        ]
        for thread in [*readers, threading.Thread(target=wait, daemon=True)]:
            thread.start()
        try:
            self._feed(process, process.stdin)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _feed(self, process: subprocess.Popen[bytes], stdin: IO[bytes]) -> None:
        """Until whoever asked has gone."""
        while header := self.rfile.read(HEADER.size):
            kind, octets = HEADER.unpack(header)
            payload = self.rfile.read(octets)
            if kind == SIGNAL:
                process.send_signal(int(payload))
            elif not payload:
                stdin.close()
            else:
                with suppress(BrokenPipeError, ValueError):
                    stdin.write(payload)

    def _hand_on(self, via: str, request: dict[str, Any]) -> None:
        try:
            there = socket.create_connection((via, PORT), timeout=10)
        except OSError as error:
            message = f"{via}: {error}".encode()
            self.wfile.write(HEADER.pack(STDERR, len(message)) + message)
            self.wfile.write(HEADER.pack(EXIT, 3) + b"255")
            return
        with there:
            there.settimeout(None)
            there.sendall(json.dumps(request).encode() + b"\n")
            back = threading.Thread(target=_copy, args=(there.recv, self.wfile), daemon=True)
            back.start()
            with there.makefile("wb", buffering=0) as onward:
                _copy(self.rfile.read1, onward)
            with suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            back.join()


def _copy(read: Any, to: Any) -> None:
    with suppress(OSError):
        while octets := read(1 << 16):
            to.write(octets)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    with Server(("", PORT), Connection) as server:
        server.serve_forever()
