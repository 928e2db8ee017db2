"""Talking with the running agent: JSON lines over a unix socket, version 1. See docs/control.md.

A client sends `{"version": 1, "do": "status"}` with whatever arguments the operation has, one
object a line, and gets one line for each: `{"ok": true, ...}` or `{"ok": false, "error": "..."}`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xensnd.errors import UsageError, XensndError

__all__ = [
    "DEFAULT_SOCKET",
    "ENVIRONMENT",
    "LINE_OCTETS_MAX",
    "VERSION",
    "AgentClient",
    "NoAgentError",
    "socket_path",
]

VERSION = 1
DEFAULT_SOCKET = Path("/run/xensnd/control")
LINE_OCTETS_MAX = 1 << 20  # of an answer; requests are far shorter
REPLY_SECONDS = 5.0
ENVIRONMENT = "XENSND_CONTROL"


class NoAgentError(XensndError):
    """No agent listens: what needs none still works."""


def socket_path(given: Path | None = None) -> Path:
    """What was asked for, else what the environment says, else the machine's."""
    return given or Path(os.environ.get(ENVIRONMENT) or DEFAULT_SOCKET)


class AgentClient:
    """`with AgentClient(path) as agent: agent.ask("status")`."""

    def __init__(self, path: Path = DEFAULT_SOCKET, seconds: float = REPLY_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(seconds)
        self._received = b""
        self._events: deque[dict[str, Any]] = deque()

    def __enter__(self) -> Self:
        try:
            self._socket.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise NoAgentError(f"{self._path}: no agent listens; is xensnd-dom0 running?") from None
        except OSError as error:
            self._socket.close()
            raise UsageError(f"{self._path}: {error.strerror or error}; ask as root") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        """The answer; UsageError with the agent's own words if it refuses."""
        request = {"version": VERSION, "do": operation, **arguments}
        deadline = time.monotonic() + self._seconds
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while "ok" not in (message := self._receive(deadline)):
                self._events.append(message)
        except OSError as error:
            raise self._lost(error) from None
        if not message["ok"]:
            raise UsageError(str(message.get("error", "the agent refuses and does not say why")))
        return message

    def event(self, seconds: float) -> dict[str, Any] | None:
        """After `watch`: what the agent tells next; None: nothing, in so many seconds."""
        if self._events:
            return self._events.popleft()
        try:
            return self._receive(time.monotonic() + seconds)
        except TimeoutError:
            return None
        except OSError as error:
            raise self._lost(error) from None

    def _lost(self, error: OSError) -> NoAgentError:
        return NoAgentError(f"{self._path}: the agent does not answer ({error})")

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next line."""
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("too slow")
            self._socket.settimeout(left)
            octets = self._socket.recv(1 << 16)
            if not octets:
                raise ConnectionResetError("it has left")
            self._received += octets
            if len(self._received) > LINE_OCTETS_MAX:
                raise ConnectionResetError("its line has no end")
        line, self._received = self._received.split(b"\n", 1)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ConnectionResetError("its line is no JSON object")
        return message
