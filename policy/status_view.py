"""What the agent's status looks like: lines for programs, a table for people. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from policy.terminal import BOLD, FAINT, GREEN, RED, YELLOW, columns_of, fitted, painted, safe

Status = Mapping[str, Any]

METER_COLUMNS = 8
QUIETEST_DB = -60.0
NAME_COLUMNS = 16  # of a guest's name, before other columns go; then what is left
RULE_COLUMNS_MAX = 28
_COLOURS = {"allow": GREEN, "deny": RED, "ask": YELLOW, "refuse": RED}


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show."""

    columns: int = 80
    has_colours: bool = False
    has_unicode: bool = True

    @property
    def dot(self) -> str:
        return "●" if self.has_unicode else "*"

    @property
    def ellipsis(self) -> str:
        return "…" if self.has_unicode else "~"

    def paint(self, text: str, colour: str) -> str:
        return painted(text, colour, self.has_colours)


def meter(level: float, look: Look, columns: int = METER_COLUMNS) -> str:
    """A peak, from 0 to 1, on a scale of decibels, which is how loud it seems."""
    decibels = 20 * math.log10(level) if level > 0 else -math.inf
    filled = round(columns * min(max(1 - decibels / QUIETEST_DB, 0), 1))
    full, empty = ("█", "·") if look.has_unicode else ("#", ".")
    return full * filled + empty * (columns - filled)


# For programs


def plain(status: Status) -> Iterator[str]:
    """One thing a line, and on each line of a guest its name first."""
    agent, policy, audit = (status.get(key, {}) for key in ("agent", "policy", "audit"))
    yield (
        f"agent: {_word(agent, 'version')}, pid {_word(agent, 'pid')}, "
        f"transport {_word(agent, 'transport')}, since {_word(agent, 'since')}"
    )
    where = ", ".join(safe(each) for each in policy.get("directories", []))
    yield f"policy: {_state_of_policy(status)}, {where}"
    yield f"audit: {_word(audit, 'where')}, {_word(audit, 'missing')} missing"
    for prompt in status.get("prompts", []):
        yield question(prompt)
    for guest in status.get("guests", []):
        name = safe(guest.get("name"))
        label = f", label {safe(guest['label'])}" if guest.get("label") else ""
        uuid = f", uuid {safe(guest['uuid'])}" if guest.get("uuid") else ""
        yield f"{name}: domid {_word(guest, 'domid')}{uuid}{label}, {_activity(guest)}"
        for device in guest.get("devices", []):
            yield f"{name}: device {_word(device, 'devid')} {_word(device, 'state')}"
            for stream in device.get("streams", []):
                yield f"{name}: {_plain_stream(stream)}"


def question(prompt: Mapping[str, Any]) -> str:
    does = {"capture": "record", "playback": "play"}.get(str(prompt.get("direction")), "do what?")
    return (
        f"prompt {_word(prompt, 'id')}: {safe(prompt.get('guest'))} wants to {does}, "
        f"{_number(prompt, 'seconds'):.0f} s to answer"
    )


def _plain_stream(stream: Mapping[str, Any]) -> str:
    heard = "connected" if stream.get("is_heard") else "not connected"
    return (
        f"stream {_word(stream, 'name')} {_word(stream, 'direction')} {_word(stream, 'state')}, "
        f"{_word(stream, 'decision')}, {heard}, {_word(stream, 'sound')}, "
        f"latency {_milliseconds(stream)}, "
        f"level {_number(stream, 'level') * 100:.0f}%, gaps {_word(stream, 'gaps')} "
        f"({safe(stream.get('source') or stream.get('reason') or '-')})"
    )


def _activity(guest: Mapping[str, Any]) -> str:
    does = [name for name in ("records", "plays") if guest.get(name) is True]
    return " and ".join(does) or "silent"


def _state_of_policy(status: Status) -> str:
    policy = status.get("policy", {})
    if policy.get("problem"):
        return f"bad: {safe(policy['problem'])}"
    rules = policy.get("rules", 0)
    return f"good: {rules} rule{'' if rules == 1 else 's'}"


# For people


@dataclass(frozen=True, slots=True)
class _Column:
    """`rank`: which column goes first where there is no room; 0: none of them."""

    title: str
    rank: int


_COLUMNS = (
    _Column("GUEST", 0),
    _Column("", 0),  # whether it is recorded from, now
    _Column("STREAM", 6),
    _Column("STATE", 4),
    _Column("POLICY", 5),
    _Column("LEVEL", 7),
    _Column("LATENCY", 3),
    _Column("RULE", 2),
    _Column("SOUND", 1),
)
_MARK, _POLICY, _LEVEL, _RULE = 1, 4, 5, 7


def table(status: Status, look: Look) -> list[str]:
    """No line is wider than the terminal."""
    lines = [_cut(line, look) for line in _heading(status)]
    if problem := status.get("policy", {}).get("problem"):
        lines.append(look.paint(_cut(f"POLICY IS BAD, nobody records: {safe(problem)}", look), RED))
    lines += [
        look.paint(_cut(question(prompt), look), YELLOW) for prompt in status.get("prompts", [])
    ]
    rows = [row for guest in status.get("guests", []) for row in _rows(guest, look)]
    if not rows:
        return [*lines, "", _cut("no guest has a sound card", look)]
    cells = [tuple(column.title for column in _COLUMNS), *rows]
    shown, widths = _widths(cells, look.columns)
    lines.append("")
    for row in cells:
        parts = [fitted(row[index], widths[index], look.ellipsis) for index in shown]
        if row is cells[0]:
            lines.append(look.paint(" ".join(parts).rstrip(), BOLD))
        else:
            painting = zip(shown, parts, strict=True)
            lines.append(" ".join(_paint_cell(*each, look) for each in painting).rstrip())
    return [*lines, "", _recording(status, look)]


def _recording(status: Status, look: Look) -> str:
    guests = [each for each in status.get("guests", []) if each.get("records") is True]
    names = ", ".join(f"{safe(each.get('name'))}{_by_rules(each)}" for each in guests)
    said = f"{look.dot} recording now: {names}" if guests else "nobody records"
    return look.paint(_cut(said, look), RED if guests else FAINT)


def _by_rules(guest: Mapping[str, Any]) -> str:
    streams = (each for device in guest.get("devices", []) for each in device.get("streams", []))
    rules = dict.fromkeys(_short_source(each) for each in streams if _is_recorded(guest, each))
    return f" ({', '.join(rules)})" if rules else ""


def _is_recorded(guest: Mapping[str, Any], stream: Mapping[str, Any]) -> bool:
    """A guest records, says the agent; by which of its streams is told from them."""
    is_live = stream.get("state") == "running" and stream.get("is_heard") is True
    return guest.get("records") is True and stream.get("direction") == "capture" and is_live


def _heading(status: Status) -> Iterator[str]:
    agent, audit = status.get("agent", {}), status.get("audit", {})
    missing = f" ({audit['missing']} MISSING)" if audit.get("missing") else ""
    state = "bad" if status.get("policy", {}).get("problem") else _state_of_policy(status)
    yield (
        f"xensnd-dom0 {_word(agent, 'version')} since {_since(agent)}"
        f" | policy {state} | audit {_word(audit, 'where')}{missing}"
    )


def _since(agent: Mapping[str, Any]) -> str:
    try:
        return f"{datetime.fromisoformat(str(agent.get('since'))):%Y-%m-%d %H:%M}"
    except ValueError:
        return "?"


def _rows(guest: Mapping[str, Any], look: Look) -> Iterator[tuple[str, ...]]:
    name = safe(guest.get("name"))
    devices = guest.get("devices", [])
    if not devices:
        yield (name, "", "-", "no card", "", "", "", "", "")
    for device in devices:
        if not device.get("streams"):
            yield (name, "", "-", _word(device, "state"), "", "", "", "", "")
        for stream in device.get("streams", []):
            yield (name, *_cells(guest, stream, look))


def _cells(guest: Mapping[str, Any], stream: Mapping[str, Any], look: Look) -> tuple[str, ...]:
    is_running = stream.get("state") == "running"
    is_heard = is_running and stream.get("is_heard") is True
    return (
        f"{look.dot} REC" if _is_recorded(guest, stream) else "",
        f"{_word(stream, 'name')} {_word(stream, 'direction')}",
        _word(stream, "state"),
        _word(stream, "decision"),
        meter(_number(stream, "level") if is_heard else 0, look),
        _milliseconds(stream) if is_running else "-",
        _short_source(stream),
        _word(stream, "sound").split(", buffer")[0],
    )


def _short_source(stream: Mapping[str, Any]) -> str:
    """The file's name tells enough; the plain output and `log` have the whole path."""
    source = stream.get("source")
    return safe(PurePath(str(source)).name) if source else safe(stream.get("reason") or "-")


def _widths(rows: Sequence[tuple[str, ...]], columns: int) -> tuple[list[int], list[int]]:
    """The columns there is room for, and how wide each column is."""
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)]
    widths[_RULE] = min(widths[_RULE], RULE_COLUMNS_MAX)
    shown = [index for index, width in enumerate(widths) if width]
    name = widths[0]

    def missing() -> int:
        return sum(widths[index] + 1 for index in shown) - 1 - columns

    widths[0] = min(name, NAME_COLUMNS)
    for index in sorted(shown, key=lambda each: _COLUMNS[each].rank):
        if _COLUMNS[index].rank and missing() > 0:
            shown.remove(index)
    widths[0] = max(min(name, widths[0] - missing()), 1)
    return shown, widths


def _paint_cell(index: int, cell: str, look: Look) -> str:
    if not cell.strip():
        return cell
    if index == _MARK:
        return look.paint(cell, RED)
    if index == _POLICY:
        return look.paint(cell, _COLOURS.get(cell.strip(), ""))
    if index == _LEVEL:
        return look.paint(cell, GREEN)
    return cell


def _cut(text: str, look: Look) -> str:
    return fitted(text, look.columns, look.ellipsis).rstrip()


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "-" if value is None else safe(value)


def _milliseconds(stream: Mapping[str, Any]) -> str:
    """Not known while the audio server does not say."""
    known = stream.get("latency_ms") is not None
    return f"{_number(stream, 'latency_ms'):.1f} ms" if known else "-"


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
