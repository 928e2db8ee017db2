"""The records of an audit trail that is a file."""

from __future__ import annotations

import json
from typing import Any


def records_in(trail: str | bytes, kind: str | None, fields: dict[str, object]) -> list[Any]:
    """Those of one kind (`decision`), with these XENSND_ fields (guest=...), the oldest first."""
    wanted = {f"XENSND_{name.upper()}": value for name, value in fields.items()}
    lines = (line for line in _whole_lines(trail) if kind is None or kind in line)
    return [
        record
        for record in map(json.loads, lines)
        if (kind is None or record["EVENT"] == kind)
        and all(record.get(name) == value for name, value in wanted.items())
    ]


def _whole_lines(trail: str | bytes) -> list[str]:
    """Without a last one that is being written: it may be seen in part."""
    text = trail if isinstance(trail, str) else trail.decode()
    return text[: text.rfind("\n") + 1].splitlines()
