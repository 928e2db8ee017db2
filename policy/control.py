"""Talking with the running agent: JSON lines over a unix socket, version 1. See docs/control.md.

A client sends `{"version": 1, "do": "status"}` with whatever arguments the operation has, one
object a line, and gets one line for each: `{"ok": true, ...}` or `{"ok": false, "error": "..."}`.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xensnd.errors import UsageError, XensndError

__all__ = ["DEFAULT_SOCKET", "LINE_OCTETS_MAX", "VERSION", "AgentClient", "NoAgentError"]

VERSION = 1
DEFAULT_SOCKET = Path("/run/xensnd/control")
LINE_OCTETS_MAX = 1 << 20  # of an answer; requests are far shorter
REPLY_SECONDS = 5.0


class NoAgentError(XensndError):
    """No agent listens: what needs none still works."""


class AgentClient:
    """`with AgentClient(path) as agent: agent.ask("status")`."""

    def __init__(self, path: Path = DEFAULT_SOCKET, seconds: float = REPLY_SECONDS) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(seconds)
        self._received = b""

    def __enter__(self) -> Self:
        try:
            self._socket.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise NoAgentError(f"{self._path}: no agent listens; is xensnd-dom0 running?") from None
        except OSError as error:
            self._socket.close()
            raise UsageError(f"{self._path}: {error.strerror}; ask as root") from None
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
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = self.receive()
        except OSError as error:
            raise NoAgentError(
                f"{self._path}: the agent does not answer ({error or 'too slow'})"
            ) from None
        if not answer.get("ok"):
            raise UsageError(str(answer.get("error", "the agent refuses and does not say why")))
        return answer

    def receive(self) -> dict[str, Any]:
        """The next line: an answer, or something that was asked to be told."""
        while b"\n" not in self._received:
            octets = self._socket.recv(1 << 16)
            if not octets:
                raise ConnectionResetError("the agent has left")
            self._received += octets
            if len(self._received) > LINE_OCTETS_MAX:
                raise ConnectionResetError("the agent's line has no end")
        line, self._received = self._received.split(b"\n", 1)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ConnectionResetError("the agent's line is no object")
        return message
