"""A pipe from an agent to its supervisor: one line for "ready", or for "alive" and what it does.

The agent handles guests' octets, so the supervisor does not trust the lines: it bounds their length
and escapes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from xensnd.text import escaped

READY = "ready"
ALIVE = "alive"
_TEXT_CHARACTERS_MAX = 200
_LINE_OCTETS_MAX = 1024
_READ_OCTETS = 4096


class Heartbeat:
    """The agent's end. If nobody reads, lines are dropped."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def ready(self) -> None:
        self._send(READY)

    def alive(self, doing: str) -> None:
        self._send(f"{ALIVE} {doing[:_TEXT_CHARACTERS_MAX]}")

    def _send(self, line: str) -> None:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, line.encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Message:
    kind: str  # READY or ALIVE
    text: str


class HeartbeatReader:
    """The supervisor's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = b""

    def messages(self) -> Iterator[Message]:
        """Return the valid messages that have come. Call it when the descriptor is readable."""
        *lines, rest = (self._received + os.read(self._fd, _READ_OCTETS)).split(b"\n")
        self._received = rest[:_LINE_OCTETS_MAX]
        for line in lines:
            kind, _, text = line.decode(errors="replace").partition(" ")
            if kind in (READY, ALIVE):
                yield Message(kind, escaped(text, _TEXT_CHARACTERS_MAX))
