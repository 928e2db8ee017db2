"""The command log: shows the audit trail, from the journal or from a file of JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any
from uuid import UUID

from policy.cli import terminal
from policy.cli.program import GOOD, MISSING, print_error
from policy.cli.record_numbers import Gap, NumberRow
from policy.cli.terminal import RED, YELLOW, painted
from policy.owners import is_trusted
from policy.text import values
from xensnd.errors import UsageError
from xensnd.text import escaped, quoted

IDENTIFIER = "xensnd-dom0"
WARNING, ERROR = 4, 3  # syslog(3)
POLL_SECONDS = 0.2

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records to show."""

    since: datetime | None
    guest: str | None

    def accepts(self, record: Record) -> bool:
        if self.guest is not None and record.get("XENSND_GUEST") != self.guest:
            return False
        when = time_of(record)
        return self.since is None or (when is not None and when >= self.since)


def show_log(options: argparse.Namespace) -> int:
    if options.verify and (options.guest is not None or options.follow or options.json):
        raise UsageError("--verify reads all events: leave out --guest, --follow and --json")
    wanted = Filter(_since(options.since), options.guest)
    reading = (
        _from_file(options.file, options.follow)
        if options.file
        else _from_journal(wanted, options.follow, options.directory)
    )
    if options.verify:
        # A record that was written late is older than those before it, and still belongs here.
        return _verify(dropwhile(lambda record: not wanted.accepts(record), reading))
    written = json_line if options.json else line
    is_empty = True
    try:
        for record in reading:
            if wanted.accepts(record):
                is_empty = False
                print(written(record), flush=options.follow)
    except KeyboardInterrupt:
        if not options.follow:
            raise
    if is_empty and not options.file and os.geteuid() != 0:
        print_error(
            "no event that you may see; to see others, be root or in the group systemd-journal"
        )
    return GOOD


def _verify(records: Iterable[Record]) -> int:
    """Say which numbers are missing. Return the exit status."""
    rows: dict[tuple[str, object], tuple[str, NumberRow]] = {}
    without_number = 0
    for record in records:
        instance, number = record.get("XENSND_INSTANCE"), _number(record)
        if instance is None or number is None:
            without_number += 1
            continue
        # By their writer too: nobody else can fill a gap, or make one.
        key = str(instance), record.get("_UID")
        name = f"{escaped(key[0])}{_unexpected_writer(record)}"
        rows.setdefault(key, (name, NumberRow()))[1].add(number, time_of(record))
    if without_number:
        print(f"{without_number} events without a number: an older agent wrote them")
    if not rows:
        print_error("no event with a number that you may see, so nothing can be said of a loss")
        return MISSING
    is_whole = True
    for name, row in rows.values():
        whole = row.whole
        span = f"from {_shown(whole.begun)} to {_shown(whole.ended)}"
        print(f"{name}: events {whole.first} to {whole.last}, {span}")
        for gap in row.gaps():
            is_whole = False
            print(painted(f"  {_described(gap)}", RED, terminal.has_colours()))
    print("nothing is missing" if is_whole else "events are missing")
    return GOOD if is_whole else MISSING


def _described(gap: Gap) -> str:
    span = f"between {_shown(gap.after)} and {_shown(gap.before)}"
    if gap.missing == 1:
        return f"event {gap.first} is missing, {span}"
    return f"{gap.missing} events are missing, {gap.first} to {gap.last}, {span}"


def _number(record: Record) -> int | None:
    try:
        return int(record["XENSND_SEQUENCE"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return None


def _shown(when: datetime | None) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when else "(no time)"


def line(record: Record) -> str:
    """The record's time and text. The text names the guest, the decision and the rule."""
    when = time_of(record)
    text = f"{_shown(when):19} {escaped(record.get('MESSAGE', ''))}{_unexpected_writer(record)}"
    priority = str(record.get("PRIORITY", ""))
    colour = {str(ERROR): RED, str(WARNING): YELLOW}.get(priority, "")
    return painted(text, colour, terminal.has_colours())


def json_line(record: Record) -> str:
    """The record as JSON, with the same field names whether from the journal or a file."""
    when = time_of(record)
    fields = {
        name: _plain(value)
        for name, value in record.items()
        if name.startswith("XENSND_") or name in {"MESSAGE", "MESSAGE_ID", "EVENT", "PRIORITY"}
    }
    for trusted in ("_UID", "_PID"):
        if trusted in record:
            fields[trusted] = _plain(record[trusted])
    return json.dumps({"TIME": when.isoformat() if when else None, **fields})


def time_of(record: Record) -> datetime | None:
    """When the event happened. A record that was written late carries that time in a field."""
    found = record.get("__REALTIME_TIMESTAMP")
    if isinstance(found, datetime) and "XENSND_TIME" not in record:
        return found.astimezone(UTC)
    try:
        when = datetime.fromisoformat(str(record.get("XENSND_TIME", record.get("TIME"))))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _unexpected_writer(record: Record) -> str:
    """A note if the agent did not write the record: any program can use its name in the journal."""
    uid = record.get("_UID")
    return "" if uid is None or is_trusted(int(uid)) else f" [written by uid {uid}]"


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    return value if isinstance(value, int) else str(value)


def _since(text: str | None) -> datetime | None:
    """The time for --since: `30m` ago, `18:00` today, or a date and time."""
    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        return now - values.read_duration(text)
    except values.InvalidValue:
        pass
    try:
        if values.is_time_of_day(text):
            today = now.astimezone().date().isoformat()
            return values.read_datetime(f"{today}T{text}")
        return values.read_datetime(text)
    except values.InvalidValue:
        raise UsageError(
            f"--since {quoted(text)} is not a time (write such as 30m, 18:00 or 2026-11-20T18:00)"
        ) from None


def _from_file(path: Path, is_followed: bool) -> Iterator[Record]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}") from None
    with file:
        rest = b""
        while True:
            octets = file.readline()
            if octets:
                rest += octets
                if rest.endswith(b"\n"):
                    yield from _parsed(path, rest)
                    rest = b""
            elif is_followed:
                time.sleep(POLL_SECONDS)
            else:
                yield from _parsed(path, rest)
                return


def _parsed(path: Path, octets: bytes) -> Iterator[Record]:
    if not octets.strip():
        return
    try:
        record = json.loads(octets)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        yield record
    else:
        print_error(f"{path}: skipped a line that is not an event")


def _from_journal(wanted: Filter, is_followed: bool, directory: Path | None) -> Iterator[Record]:
    try:
        from systemd import journal  # noqa: PLC0415 - only this command needs it
    except ImportError:
        raise UsageError(
            "log needs python3-systemd to read the journal; install it, or give --file AUDIT"
        ) from None
    with journal.Reader(path=str(directory)) if directory else journal.Reader() as reader:
        reader.add_match(SYSLOG_IDENTIFIER=IDENTIFIER)
        if wanted.guest is not None:
            reader.add_match(XENSND_GUEST=wanted.guest)
        if wanted.since is not None:
            reader.seek_realtime(wanted.since)
        while True:
            for record in reader:
                if "MESSAGE_ID" in record:  # others are what the agent wrote to standard error
                    yield record
            if not is_followed:
                return
            reader.wait(POLL_SECONDS)
            reader.process()
