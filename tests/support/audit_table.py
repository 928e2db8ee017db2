"""The table of docs/audit.md: which fields each event has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs/audit.md"
GUEST = ("XENSND_GUEST", "XENSND_DOMID")
LATE = "XENSND_TIME"  # of any event that was written late
NUMBERED = {"XENSND_INSTANCE", "XENSND_SEQUENCE"}  # each record


@dataclass(frozen=True, slots=True)
class Row:
    message_id: str
    always: frozenset[str]
    sometimes: frozenset[str]  # what stands behind an "if"


@cache
def rows() -> Mapping[str, Row]:
    """By the events' names."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    found = {}
    for line in lines:
        event, message_id, _, fields = (cell.strip(" `") for cell in line.strip("|").split("|"))
        always, _, sometimes = fields.partition("if ")
        found[event] = Row(message_id, _named_in(always), _named_in(sometimes))
    return found


def _named_in(text: str) -> frozenset[str]:
    names = set(re.findall(r"XENSND_[A-Z_]+", text))
    return frozenset(names | set(GUEST if re.search(r"\bGUEST\b", text) else ()))


def told(records: Iterable[Mapping[str, Any]], kind: str) -> int:
    """How many events of this kind these records tell of: each by its own, or by a count."""
    number = 0
    for record in records:
        if record["EVENT"] == kind:
            number += 1
        elif record["EVENT"] == "events_summarised":
            counts = json.loads(record["XENSND_COUNTS"])
            number += sum(count for what, count in counts.items() if kind in what.split())
    return number


def assert_documented(records: Iterable[Mapping[str, Any]]) -> None:
    """Of an audit file: each event has the fields that its row says, and no others."""
    for record in records:
        row = rows()[record["EVENT"]]
        fields = {name for name in record if name.startswith("XENSND_")} - {LATE}
        assert fields >= NUMBERED, record
        fields -= NUMBERED
        assert row.message_id == record["MESSAGE_ID"]
        assert row.always <= fields <= row.always | row.sometimes, record
