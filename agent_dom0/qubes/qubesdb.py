"""QubesDB, the small database of a domain of Qubes OS: reading, writing and watching our own.

The wire format is that of qubesdb.h in qubes-core-qubesdb. Qubes' own client waits for the daemon
without a limit. Here every answer has a deadline, so that sound never waits.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Self

ANSWER_SECONDS = 2.0
PATH_OCTETS = 64  # with the NUL at its end
DATA_OCTETS_MAX = 3072

_HEADER = struct.Struct(f"=B{PATH_OCTETS}s3xI")  # what it is, its path, the octets that follow


class _Message(IntEnum):
    READ = 0
    WRITE = 1
    WATCH = 5
    OK = 7
    NO_ENTRY = 8
    VALUE = 10
    CHANGED = 13


_Answer = tuple[int, bytes]


class QubesDb:
    """One connection, for one caller at a time. OSError: it is lost, and so is this object.

    `on_change` is called when something that is watched has changed, and when the connection is
    lost; changes() says which.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_change: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_change = on_change
        self._changed: set[str] = set()
        self._answers: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self._is_lost = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, path: Path, on_change: Callable[[], None]) -> Self:
        async with asyncio.timeout(ANSWER_SECONDS):
            return cls(*await asyncio.open_unix_connection(path), on_change)

    async def read(self, path: str) -> str | None:
        """Return the entry; None: there is no such entry."""
        kind, data = await self._ask(_Message.READ, path)
        if kind == _Message.NO_ENTRY:
            return None
        self._expect(kind, _Message.VALUE, f"read {path}")
        return data.decode("ascii", "replace")

    async def write(self, path: str, value: str) -> None:
        kind, _ = await self._ask(_Message.WRITE, path, value.encode("ascii"))
        self._expect(kind, _Message.OK, f"write {path}")

    async def watch(self, path: str) -> None:
        """Watch a path; with a slash at its end, everything below it."""
        kind, _ = await self._ask(_Message.WATCH, path)
        self._expect(kind, _Message.OK, f"watch {path}")

    def changes(self) -> set[str]:
        """Return the paths that have changed since the last call."""
        if self._is_lost:
            raise ConnectionResetError("QubesDB has closed the connection")
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        self._listening.cancel()
        with suppress(OSError):
            self._writer.close()

    async def _ask(self, kind: _Message, path: str, data: bytes = b"") -> _Answer:
        octets = path.encode("ascii")
        if len(octets) >= PATH_OCTETS:
            raise ValueError(f"{path}: too long for QubesDB")
        self._writer.write(_HEADER.pack(kind, octets, len(data)) + data)
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._writer.drain()
            answer = None if self._is_lost else await self._answers.get()
        if answer is None:
            raise ConnectionResetError("QubesDB has closed the connection")
        return answer

    @staticmethod
    def _expect(kind: int, expected: _Message, what: str) -> None:
        if kind != expected:
            raise OSError(f"QubesDB refuses to {what}")

    async def _listen(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(_HEADER.size)
                kind, path, octets = _HEADER.unpack(header)
                if octets > DATA_OCTETS_MAX:
                    break
                data = await self._reader.readexactly(octets)
                if kind == _Message.CHANGED:
                    self._changed.add(path.split(b"\0")[0].decode("ascii", "replace"))
                    self._on_change()
                else:
                    self._answers.put_nowait((kind, data))
        except (OSError, asyncio.IncompleteReadError):
            pass
        self._is_lost = True
        self._answers.put_nowait(None)
        self._on_change()
