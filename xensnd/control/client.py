"""Clients of the running agent, over its unix socket: one that blocks, and one for asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

from xensnd.control.messages import LINE_OCTETS_MAX, decode, encode_request
from xensnd.errors import UsageError, XensndError

__all__ = [
    "DEFAULT_SOCKET",
    "ENVIRONMENT",
    "AgentClient",
    "AsyncAgentClient",
    "Message",
    "NoAgentError",
    "socket_path",
]

DEFAULT_SOCKET = Path("/run/xensnd/control")
REPLY_SECONDS = 5.0
ENVIRONMENT = "XENSND_CONTROL"

Message = dict[str, Any]


class NoAgentError(XensndError):
    """No agent listens. Commands that need none still work."""


def socket_path(given: Path | None = None) -> Path:
    """Return the path asked for, else the environment's, else the machine's."""
    return given or Path(os.environ.get(ENVIRONMENT) or DEFAULT_SOCKET)


class AgentClient:
    """`with AgentClient(path) as agent: agent.ask("status")`."""

    def __init__(self, path: Path = DEFAULT_SOCKET, seconds: float = REPLY_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(seconds)
        self._received = b""
        self._events: deque[Message] = deque()

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

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, operation: str, **arguments: object) -> Message:
        """The answer; UsageError with the agent's own words if it refuses."""
        deadline = time.monotonic() + self._seconds
        try:
            self._socket.sendall(encode_request(operation, arguments))
            while "ok" not in (message := self._receive(deadline)):
                self._events.append(message)
        except OSError as error:
            raise self._lost(error) from None
        if not message["ok"]:
            raise UsageError(str(message.get("error", "the agent refuses and does not say why")))
        return message

    def event(self, seconds: float) -> Message | None:
        """Return what the agent tells next, after `watch`; None: nothing, in so many seconds."""
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

    def _receive(self, deadline: float) -> Message:
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
            return decode(line)
        except ValueError as error:
            raise ConnectionResetError(str(error)) from None


class AsyncAgentClient:
    """A client for asyncio: answers go to the callback of their request, events to the reader.

    `async for event in client.events()` also delivers the answers, in the order of the requests.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answered: deque[Callable[[Message], None]] = deque()

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Return a connected client. OSError: no agent listens, or we may not ask it."""
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_OCTETS_MAX))

    def request(
        self, operation: str, answered: Callable[[Message], None], **arguments: object
    ) -> None:
        """Ask for an operation. `answered` gets the answer, whether it is a refusal or not."""
        self._answered.append(answered)
        self._writer.write(encode_request(operation, arguments))

    async def events(self) -> AsyncIterator[Message]:
        """Yield what the agent tells after `watch`. ConnectionResetError: the agent has left.
        ValueError: it breaks the protocol."""
        while line := await self._reader.readline():
            message = decode(line)
            if "ok" not in message:
                yield message
            elif self._answered:
                self._answered.popleft()(message)
            else:
                raise ValueError("an answer without a request")
        raise ConnectionResetError("the agent has left")

    def close(self) -> None:
        self._writer.transport.abort()
