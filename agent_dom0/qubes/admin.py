"""The Admin API of Qubes OS, as far as it says what qubes are: calls, answers and events.

In dom0 a call goes to qubesd's socket; elsewhere through qrexec-client-vm, if dom0's qrexec policy
admits it. The answers are the same. See Qubes' documentation of the Admin API.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

ANSWER_SECONDS = 5.0
ANSWER_OCTETS_MAX = 1 << 20
# More qubes than a machine has, and more values than an event of Qubes has.
QUBES_MAX = 4096
EVENT_VALUES_MAX = 64

_GOOD, _EVENT, _ERROR = b"0\0", b"1\0", b"2\0"
_QUBE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


class AdminApiLost(OSError):
    """Nobody answers, or what comes is no answer of the Admin API."""


class AdminCallRefused(Exception):
    """This call is refused, or what it asks for is not there. Others may be answered."""


@dataclass(frozen=True, slots=True)
class QubesEvent:
    name: str
    qube: str  # "": it is about the whole system


class AdminTransport(Protocol):
    def call(self, method: str, qube: str) -> AbstractAsyncContextManager[StreamReader]:
        """Send a call, and give what answers it. OSError: nobody answers."""


class QubesdSocket:
    """In dom0: qubesd itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @asynccontextmanager
    async def call(self, method: str, qube: str) -> AsyncIterator[StreamReader]:
        name = method if "+" in method else f"{method}+"
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise AdminApiLost(f"{self._path}: {error.strerror}") from None
        try:
            writer.write(f"{name} dom0 name {qube}\0".encode("ascii"))
            writer.write_eof()
            yield reader
        finally:
            _close(writer)


class QrexecCalls:
    """In an AudioVM: dom0's qrexec policy decides about each call."""

    def __init__(self, command: str) -> None:
        self._command = command

    @asynccontextmanager
    async def call(self, method: str, qube: str) -> AsyncIterator[StreamReader]:
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                qube,
                method,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise AdminApiLost(f"{self._command}: {error.strerror}") from None
        try:
            yield cast(StreamReader, process.stdout)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _close(writer: StreamWriter) -> None:
    with suppress(OSError):
        writer.close()


class AdminApi:
    """AdminApiLost from any call: nobody answers now."""

    def __init__(self, transport: AdminTransport) -> None:
        self._transport = transport

    async def qubes(self) -> dict[str, str]:
        """Return the class of each qube, by its name."""
        found = {}
        for line in (await self._ask("admin.vm.List", "dom0")).splitlines()[:QUBES_MAX]:
            name, *facts = line.split(" ")
            qube_class = next((f.removeprefix("class=") for f in facts if f[:6] == "class="), "")
            if _QUBE.fullmatch(name) and _WORD.fullmatch(qube_class) and qube_class != "AdminVM":
                found[name] = qube_class
        return found

    async def label(self, qube: str) -> str:
        return _word(await self._property(qube, "label"))

    async def template(self, qube: str) -> str:
        """Return its template; of a disposable, the qube of which it is one. "": it has none."""
        value = await self._property(qube, "template")
        return _word(value) if value else ""

    async def tags(self, qube: str) -> list[str]:
        return [_word(tag) for tag in (await self._ask("admin.vm.tag.List", qube)).splitlines()]

    async def _property(self, qube: str, name: str) -> str:
        """`default=False type=label red`"""
        answer = await self._ask(f"admin.vm.property.Get+{name}", qube)
        default, _, rest = answer.partition(" ")
        kind, _, value = rest.partition(" ")
        if not default.startswith("default=") or not kind.startswith("type="):
            raise AdminApiLost(f"admin.vm.property.Get+{name}: {answer[:60]!r} is no property")
        return value

    async def _ask(self, method: str, qube: str) -> str:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._transport.call(method, qube) as reader:
                    answer = await _read_all(reader)
        except TimeoutError:
            raise AdminApiLost(f"{method}: no answer in {ANSWER_SECONDS:g} s") from None
        if not answer:
            raise AdminCallRefused(f"{method} of {qube} is not allowed")
        if answer[:2] == _ERROR:
            kind = answer[2:].split(b"\0")[0].decode("ascii", "replace")
            raise AdminCallRefused(f"{method} of {qube}: {kind[:60]}")
        if answer[:2] != _GOOD:
            raise AdminApiLost(f"{method}: {answer[:60]!r} is no answer")
        return answer[2:].decode("utf-8", "replace")

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[QubesEvent]]:
        """Begin to follow what changes. What is read after this began is not older."""
        async with self._transport.call("admin.Events", "dom0") as reader:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await _next_event(reader)  # connection-established
            except TimeoutError:
                raise AdminApiLost("admin.Events: no answer") from None
            yield _events(reader)


async def _events(reader: StreamReader) -> AsyncIterator[QubesEvent]:
    while True:
        yield await _next_event(reader)


async def _next_event(reader: StreamReader) -> QubesEvent:
    """AdminApiLost: there are no more."""
    try:
        kind = await reader.readuntil(b"\0")
        if kind != _EVENT:
            raise AdminApiLost(f"admin.Events: {kind[:60]!r} is no event; is it allowed?")
        subject, name = [await _read_text(reader) for _ in range(2)]
        values: dict[str, str] = {}
        for _ in range(EVENT_VALUES_MAX):
            if not (key := await _read_text(reader)):
                return QubesEvent(name, subject or values.get("vm", ""))
            values[key] = await _read_text(reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise AdminApiLost("admin.Events has ended, or is not allowed") from None
    raise AdminApiLost("admin.Events: an event with too many values")


async def _read_text(reader: StreamReader) -> str:
    return (await reader.readuntil(b"\0"))[:-1].decode("utf-8", "replace")


async def _read_all(reader: StreamReader) -> bytes:
    answer = b""
    while part := await reader.read(65536):
        answer += part
        if len(answer) > ANSWER_OCTETS_MAX:
            raise AdminApiLost(f"an answer of more than {ANSWER_OCTETS_MAX} octets")
    return answer


def _word(text: str) -> str:
    """AdminCallRefused: this is no name, tag or label, and so as good as not known."""
    if not _WORD.fullmatch(text):
        raise AdminCallRefused(f"{text[:60]!r} is no word")
    return text
