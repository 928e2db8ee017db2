"""The audit trail: events to the journal, or to a file of JSON lines.

While the trail cannot be written, capture is denied. So every sink reports an event that it could
not keep.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agent_dom0.events import Event, EventKind, Priority, late
from agent_dom0.trail_numbers import TrailNumbers
from xensnd.errors import UsageError

log = logging.getLogger("xensnd-dom0")

# Events that wait in memory for a trail that is lost: some hundred octets each.
KEPT_MAX = 1000

JOURNAL_SOCKET = "/run/systemd/journal/socket"
# How long a send may wait. Several events come at once, and journald's queue may hold only ten; the
# event loop waits meanwhile.
ROOM_SECONDS = 0.02

NOT_WRITTEN = "the audit trail cannot be written"

# Late events are written for this long at a time, for the same reason.
CATCH_UP_SECONDS = 0.02


class AuditSink(Protocol):
    def write(self, event: Event) -> None:
        """Keeps the event, or raises OSError."""

    def describe(self) -> str: ...


class JournalSink:
    """Writes to journald in its native protocol. systemd-python's send() reports no error when
    nobody listens, and waits for ever when journald hangs; the whole agent would wait."""

    def write(self, event: Event) -> None:
        fields = {
            "MESSAGE": event.text,
            "MESSAGE_ID": event.kind.value,
            "PRIORITY": int(event.priority),
            "SYSLOG_IDENTIFIER": "xensnd-dom0",
            **event.fields,
        }
        datagram = b"".join(_journal_field(name, str(value)) for name, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(ROOM_SECONDS)
            sending.connect(JOURNAL_SOCKET)
            try:
                sending.send(datagram)
            except TimeoutError:
                text = "journald accepts no more messages; see whether it still works"
                raise OSError(errno.EAGAIN, text) from None

    def describe(self) -> str:
        return "journal"


def _journal_field(name: str, value: str) -> bytes:
    """https://systemd.io/JOURNAL_NATIVE_PROTOCOL"""
    data = value.encode(errors="backslashreplace")
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


class FileSink:
    """One JSON object a line, in the journal's field names. Whole lines or none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise UsageError(
                f"--audit {path}: {error.strerror}; give a file that can be written"
            ) from None

    def write(self, event: Event) -> None:
        entry = {
            "TIME": event.time.isoformat(timespec="microseconds"),
            "MESSAGE_ID": event.kind.value,
            "EVENT": event.kind.name.lower(),
            "PRIORITY": int(event.priority),
            "MESSAGE": event.text,
            **event.fields,
        }
        line = (json.dumps(entry, ensure_ascii=True) + "\n").encode()
        written = os.write(self._fd, line)
        if written != len(line):
            # The disk is full: remove the part of the line, or it would spoil the next one.
            end = os.lseek(self._fd, 0, os.SEEK_END)
            os.ftruncate(self._fd, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def describe(self) -> str:
        return str(self.path)


class AuditTrail:
    """Writes events to the sink, and knows whether the trail is complete. Each event gets its
    number before it is written, so a number that is not there shows a loss.

    Events go to the log as well, unless the sink `is_log`. `on_change` is called when the trail is
    lost and when it is back. While it is lost, up to KEPT_MAX events are kept in memory. `retry()`
    writes them late, and then an event that says how many were late and how many are missing.
    """

    def __init__(
        self,
        sink: AuditSink,
        on_change: Callable[[], None] = lambda: None,
        *,
        is_log: bool = False,
    ) -> None:
        self._sink = sink
        self._on_change = on_change
        self._is_log = is_log
        self._is_lost = False
        self._numbers = TrailNumbers()
        self._unused: int | None = None  # a number that was taken, for a record not written yet
        self._kept: deque[Event] = deque()
        self._late = 0
        self._missing = 0

    @property
    def is_lost(self) -> bool:
        return self._is_lost

    @property
    def missing(self) -> int:
        """How many events are not in the trail now."""
        return len(self._kept) + self._missing

    @property
    def where(self) -> str:
        return self._sink.describe()

    def number_by(self, numbers: TrailNumbers) -> None:
        self._numbers = numbers

    def append(self, event: Event) -> bool:
        """Write the event. False: it is not in the trail, so what it would allow must be denied."""
        event = self._numbered(event, self._numbers.take())
        if self._is_lost:
            self._keep(event)
            return False
        try:
            self._sink.write(event)
        except OSError as error:
            self._is_lost = True
            self._keep(event)
            log.error(
                "audit %s: %s; capture is denied until it can be written again",
                self._sink.describe(),
                error.strerror or error,
            )
            self._on_change()
            return False
        if not self._is_log:
            level = logging.WARNING if event.priority <= Priority.WARNING else logging.INFO
            log.log(level, "%s", event.text)
        return True

    def retry(self) -> bool:
        """Write late events for a while. Return whether there are more to write at once."""
        if not self._is_lost:
            return False
        deadline = time.monotonic() + CATCH_UP_SECONDS
        try:
            while self._kept:
                if time.monotonic() > deadline:
                    return True
                self._sink.write(late(self._kept[0]))
                self._kept.popleft()
                self._late += 1
            if self._unused is None:
                self._unused = self._numbers.take()
            resumed = self._numbered(self._resumed(), self._unused)
            self._sink.write(resumed)
        except OSError:
            return False
        self._unused = None
        self._is_lost = False
        self._late = self._missing = 0
        log.warning("%s", resumed.text)
        self._on_change()
        return False

    def _numbered(self, event: Event, number: int) -> Event:
        row = self._numbers.instance
        fields = {**event.fields, "XENSND_INSTANCE": row, "XENSND_SEQUENCE": number}
        return replace(event, fields=fields)

    def _keep(self, event: Event) -> None:
        """Keep the first events, which show what happened before the trail was lost."""
        if len(self._kept) < KEPT_MAX:
            self._kept.append(event)
        else:
            self._missing += 1

    def _resumed(self) -> Event:
        return Event(
            EventKind.AUDIT_RESUMED,
            f"the audit trail is written again; {self._late} events were written late, "
            f"{self._missing} are missing from it",
            Priority.WARNING,
            {"XENSND_LATE": self._late, "XENSND_MISSING": self._missing},
        )


def open_trail(where: str, on_change: Callable[[], None]) -> AuditTrail:
    """`where`: `journal`, or the path of a file. UsageError: it cannot be written."""
    if where == "journal":
        return AuditTrail(JournalSink(), on_change, is_log=_logs_to_journal())
    return AuditTrail(FileSink(Path(where)), on_change)


def _logs_to_journal() -> bool:
    """Whether systemd has joined our standard error with the journal: systemd.exec(5)."""
    log_file = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{log_file.st_dev}:{log_file.st_ino}"
