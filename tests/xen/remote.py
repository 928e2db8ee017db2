"""Commands in dom0 and in guests, as processes of a test: the other end of image/labd.py."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.xen.image.labd import EXIT, HEADER, SIGNAL, STDERR, STDIN, STDOUT

CONNECT_SECONDS = 10
RUN_SECONDS = 60
KILL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    errors: str = ""
    octets: bytes = b""

    @property
    def output(self) -> str:
        return self.octets.decode(errors="replace")


class Process:
    """A command under way. What it says is kept; with its block it ends."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self._connection = connection
        self._said = {STDOUT: bytearray(), STDERR: bytearray()}
        self._status: int | None = None
        self._lost = False
        self._sending = threading.Lock()
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name=name, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def heard(self) -> bytes:
        """Its standard output so far."""
        with self._news:
            return bytes(self._said[STDOUT])

    @property
    def errors(self) -> str:
        with self._news:
            return self._said[STDERR].decode(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._status is None and not self._lost

    def listen_until(self, enough: Callable[[bytes], Any], seconds: float = 20) -> bytes:
        """Until `enough(heard)`, or it ended, or the time is over; what was heard by then."""
        deadline = time.monotonic() + seconds
        while True:
            running, heard = self.is_running, self.heard
            remaining = deadline - time.monotonic()
            if enough(heard) or remaining <= 0 or not running:
                return heard
            self._await_more(len(heard), remaining)

    def _await_more(self, seen: int, seconds: float) -> None:
        with self._news:
            self._news.wait_for(
                lambda: len(self._said[STDOUT]) > seen or not self.is_running, seconds
            )

    def hears(self, played: bytes, seconds: float = 10) -> bool:
        """Whether exactly these octets come, after silence or anything else."""
        return played in self.listen_until(
            lambda heard: len(heard) >= len(played) and played in heard, seconds
        )

    def write(self, octets: bytes) -> None:
        """To its standard input; nothing closes that."""
        for start in range(0, len(octets), 1 << 20):
            self._send(STDIN, octets[start : start + (1 << 20)])
        if not octets:
            self._send(STDIN, b"")

    def signal(self, signum: signal.Signals) -> None:
        self._send(SIGNAL, b"%d" % signum)

    def ended(self, seconds: float = RUN_SECONDS) -> Ended:
        """Waits for its end."""
        with self._news:
            over = self._news.wait_for(lambda: not self.is_running, seconds)
        if not over:
            raise TimeoutError(f"{self.name}: not ended after {seconds:g} s\n{self.errors}")
        if self._status is None:
            raise ConnectionError(f"{self.name}: its machine has gone")
        return Ended(self._status, self.errors, self.heard)

    def close(self) -> None:
        """Ends it, if it has not. Then it is gone, as far as its machine still answers."""
        if self.is_running:
            self.signal(signal.SIGKILL)
            with self._news:
                self._news.wait_for(lambda: not self.is_running, KILL_SECONDS)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._connection.close()

    def _send(self, kind: int, payload: bytes) -> None:
        with self._sending, suppress(OSError):
            self._connection.sendall(HEADER.pack(kind, len(payload)) + payload)

    def _listen(self) -> None:
        with self._connection.makefile("rb") as stream, suppress(OSError):
            while header := stream.read(HEADER.size):
                kind, octets = HEADER.unpack(header)
                payload = stream.read(octets)
                with self._news:
                    if kind == EXIT:
                        self._status = int(payload)
                        self._news.notify_all()
                        return
                    self._said[kind] += payload
                    self._news.notify_all()
        with self._news:
            self._lost = True
            self._news.notify_all()


class Machine:
    """Where commands run: dom0, or a guest that dom0 reaches at `via`."""

    def __init__(self, name: str, port: int, via: str | None = None) -> None:
        self.name = name
        self._port = port
        self._via = via

    def start(
        self, *argv: str, stdin: bytes | None = b"", env: Mapping[str, str] | None = None
    ) -> Process:
        """`stdin` is all that it gets on standard input; None: that is written later."""
        request: dict[str, object] = {"argv": argv, "env": dict(env or {})}
        if self._via is not None:
            request["via"] = self._via
        connection = socket.create_connection(("127.0.0.1", self._port), CONNECT_SECONDS)
        connection.settimeout(None)
        connection.sendall(json.dumps(request).encode() + b"\n")
        process = Process(connection, f"{self.name}: {' '.join(argv)[:80]}")
        if stdin is not None:
            if stdin:
                process.write(stdin)
            process.write(b"")
        return process

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        seconds: float = RUN_SECONDS,
    ) -> Ended:
        """To its end."""
        with self.start(*argv, stdin=stdin, env=env) as process:
            return process.ended(seconds)

    def do(self, *argv: str, stdin: bytes = b"", seconds: float = RUN_SECONDS) -> str:
        """To its end, which must be a good one. Its standard output."""
        ended = self.run(*argv, stdin=stdin, seconds=seconds)
        if ended.status == -signal.SIGSEGV:  # the emulation's fault: see docs/lab.md
            ended = self.run(*argv, stdin=stdin, seconds=seconds)
        if ended.status:
            raise subprocess.CalledProcessError(
                ended.status, f"{self.name}: {' '.join(argv)}", ended.output, ended.errors
            )
        return ended.output

    def write_file(self, path: str, octets: bytes) -> None:
        self.do("sh", "-c", 'cat >"$1.new" && mv "$1.new" "$1"', "-", path, stdin=octets)

    def read_file(self, path: str) -> bytes:
        return self.run("cat", path).octets

    def is_up(self) -> bool:
        """Whether labd answers there."""
        if self._via is not None:
            return self.run("true").status == 0
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as probe:
            probe.settimeout(1)
            probe.sendall(b"null\n")
            return bool(probe.recv(1))
        return False
