"""What the agent's status looks like: lines for programs, a table for people. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from policy.cli.terminal import BOLD, FAINT, GREEN, RED, YELLOW, columns_of, fitted, painted, safe

Status = Mapping[str, Any]

METER_COLUMNS = 10
QUIETEST_DB = -60.0
# From which part of a meter it is loud, and when it is about to distort: -12 and -6 dB.
LOUD_AT, TOO_LOUD_AT = 0.8, 0.9
NAME_COLUMNS = 16  # of a guest's name, before other columns go; then what is left
RULE_COLUMNS_MAX = 28
_COLOURS = {"allow": GREEN, "deny": RED, "ask": YELLOW, "refuse": RED}
# As Qubes has them, in the terminal's own colours where it has them; black is no colour at all.
_LABELS = {
    "red": RED,
    "orange": "38;5;208",
    "yellow": YELLOW,
    "green": GREEN,
    "gray": "90",
    "blue": "34",
    "purple": "35",
}


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
    eighths = round(_loudness(level) * columns * 8)
    if not look.has_unicode:
        filled = round(eighths / 8)
        return "#" * filled + "." * (columns - filled)
    bar = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
    return bar + "·" * (columns - len(bar))


def _loudness(level: float) -> float:
    """Where on the scale: 0 is the quietest, 1 all that there is."""
    decibels = 20 * math.log10(level) if level > 0 else -math.inf
    return min(max(1 - decibels / QUIETEST_DB, 0), 1)


def _paint_meter(cell: str, look: Look) -> str:
    """Green, yellow where it is loud, red where it distorts; what is empty is faint."""
    bar = cell.rstrip("·. ")
    loud, too_loud = (math.floor(part * METER_COLUMNS) for part in (LOUD_AT, TOO_LOUD_AT))
    zones = ((bar[:loud], GREEN), (bar[loud:too_loud], YELLOW), (bar[too_loud:], RED))
    painted_bar = "".join(look.paint(part, colour) for part, colour in zones)
    return painted_bar + look.paint(cell[len(bar) :], FAINT)


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
    if stream.get("device"):
        heard += f" with {safe(stream['device'])}"
    return (
        f"stream {_word(stream, 'name')} {_word(stream, 'direction')} {_word(stream, 'state')}, "
        f"{_word(stream, 'decision')}, {heard}, {_word(stream, 'sound')}, "
        f"latency {_milliseconds(stream)}, "
        f"level {_number(stream, 'level') * 100:.0f}%, volume {_volume(stream)}, "
        f"gaps {_word(stream, 'gaps')} "
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
    is_number: bool = False  # stands at the right


_COLUMNS = (
    _Column("GUEST", 0),
    _Column("", 0),  # whether it is recorded from, now
    _Column("STREAM", 6),
    _Column("POLICY", 5),
    _Column("LEVEL", 7),
    _Column("VOL", 3, is_number=True),
    _Column("LATENCY", 4, is_number=True),
    _Column("RULE", 2),
    _Column("SOUND", 1),
)
_NAME, _MARK, _POLICY, _LEVEL, _VOLUME, _RULE = 0, 1, 3, 4, 5, 7


def table(status: Status, look: Look) -> list[str]:
    """No line is wider than the terminal."""
    lines = [_cut(line, look) for line in _heading(status)]
    if problem := status.get("policy", {}).get("problem"):
        lines.append(look.paint(_cut(f"POLICY IS BAD, nobody records: {safe(problem)}", look), RED))
    lines += [
        look.paint(_cut(question(prompt), look), YELLOW) for prompt in status.get("prompts", [])
    ]
    guests = status.get("guests", [])
    rows = [(row, guest) for guest in guests for row in _rows(guest, look)]
    if not rows:
        return [*lines, "", _cut("no guest has a sound card", look)]
    titles = tuple(column.title for column in _COLUMNS)
    shown, widths = _widths([titles, *(row for row, _ in rows)], look.columns)
    head = " ".join(_fitted(titles, index, widths, look) for index in shown)
    lines += ["", look.paint(head.rstrip(), BOLD)]
    for row, guest in rows:
        cells = [(index, _fitted(row, index, widths, look)) for index in shown]
        colour = _LABELS.get(str(guest.get("label")), "")
        lines.append(" ".join(_paint_cell(*cell, colour, look) for cell in cells).rstrip())
    return [*lines, "", _recording(status, look)]


def _fitted(row: Sequence[str], index: int, widths: Sequence[int], look: Look) -> str:
    cell = row[index]
    if _COLUMNS[index].is_number:
        cell = " " * (widths[index] - columns_of(cell)) + cell
    return fitted(cell, widths[index], look.ellipsis)


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
    is_live = _is_running(stream) and stream.get("is_heard") is True
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
    """The name stands on the first of them alone."""
    name = safe(guest.get("name"))
    devices = guest.get("devices", [])
    if not devices:
        yield (name, "", "no card", *[""] * 6)
    for device in devices:
        if not device.get("streams"):
            yield (name, "", _word(device, "state"), *[""] * 6)
            name = ""
        for stream in device.get("streams", []):
            yield (name, *_cells(guest, stream, look))
            name = ""


def _cells(guest: Mapping[str, Any], stream: Mapping[str, Any], look: Look) -> tuple[str, ...]:
    return (
        f"{look.dot} REC" if _is_recorded(guest, stream) else "",
        f"{_word(stream, 'name')} {_word(stream, 'direction')}",
        _word(stream, "decision"),
        _level(stream, look),
        "muted" if stream.get("is_muted") is True else _percent(stream),
        _milliseconds(stream) if _is_running(stream) else "-",
        _short_source(stream),
        _word(stream, "sound").split(", buffer")[0],
    )


def _is_running(stream: Mapping[str, Any]) -> bool:
    return stream.get("state") == "running"


def _level(stream: Mapping[str, Any], look: Look) -> str:
    """In place of a meter, why there is none."""
    if not _is_running(stream):
        return _word(stream, "state")
    return meter(_number(stream, "level"), look) if stream.get("is_heard") is True else "silence"


def _short_source(stream: Mapping[str, Any]) -> str:
    """The file's name tells enough; the plain output and `log` have the whole path."""
    source = stream.get("source")
    return safe(PurePath(str(source)).name) if source else safe(stream.get("reason") or "-")


def _widths(rows: Sequence[tuple[str, ...]], columns: int) -> tuple[list[int], list[int]]:
    """The columns there is room for, and how wide each column is."""
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)]
    widths[_RULE] = min(widths[_RULE], RULE_COLUMNS_MAX)
    shown = [index for index, width in enumerate(widths) if width]
    name = widths[_NAME]

    def missing() -> int:
        return sum(widths[index] + 1 for index in shown) - 1 - columns

    widths[_NAME] = min(name, NAME_COLUMNS)
    for index in sorted(shown, key=lambda each: _COLUMNS[each].rank):
        if _COLUMNS[index].rank and missing() > 0:
            shown.remove(index)
    widths[_NAME] = max(min(name, widths[_NAME] - missing()), 1)
    return shown, widths


def _paint_cell(index: int, cell: str, label: str, look: Look) -> str:
    if not cell.strip():
        return cell
    if index == _LEVEL and not cell.strip().isalpha():
        return _paint_meter(cell, look)
    colours = {
        _NAME: label,
        _MARK: RED,
        _POLICY: _COLOURS.get(cell.strip(), ""),
        _LEVEL: FAINT,
        _VOLUME: YELLOW if "muted" in cell else "",
    }
    return look.paint(cell, colours.get(index, ""))


def _cut(text: str, look: Look) -> str:
    return fitted(text, look.columns, look.ellipsis).rstrip()


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "-" if value is None else safe(value)


def _volume(stream: Mapping[str, Any]) -> str:
    """Muted is not volume 0: what it was before comes back."""
    return _percent(stream) + (" muted" if stream.get("is_muted") is True else "")


def _percent(stream: Mapping[str, Any]) -> str:
    """Not known while the stream is not at the audio server, and nobody has set it."""
    known = stream.get("volume_percent") is not None
    return f"{_number(stream, 'volume_percent'):.0f}%" if known else "-"


def _milliseconds(stream: Mapping[str, Any]) -> str:
    """Not known while the audio server does not say."""
    known = stream.get("latency_ms") is not None
    return f"{_number(stream, 'latency_ms'):.1f} ms" if known else "-"


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
