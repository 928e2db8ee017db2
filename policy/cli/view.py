"""The agent's status as text: lines for programs, a table for people. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from policy.cli.terminal import BOLD, FAINT, GREEN, RED, YELLOW, columns_of, fitted, painted
from xensnd.text import escaped

Status = Mapping[str, Any]

METER_COLUMNS = 10
QUIETEST_DB = -60.0
# The parts of a meter from which sound is loud (-12 dB), and may distort (-6 dB).
LOUD_FROM, TOO_LOUD_FROM = 0.8, 0.9
NAME_COLUMNS = 16  # kept for a guest's name before other columns are left out
RULE_COLUMNS_MAX = 28
_COLOURS = {"allow": GREEN, "deny": RED, "ask": YELLOW, "refuse": RED}
# The labels of Qubes OS, in the terminal's own colours where it has them. Black has none.
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
class Display:
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


def meter(level: float, display: Display, columns: int = METER_COLUMNS) -> str:
    """A bar for a peak from 0 to 1, on a scale of decibels, as people hear it."""
    eighths = round(_scaled(level) * columns * 8)
    if not display.has_unicode:
        filled = round(eighths / 8)
        return "#" * filled + "." * (columns - filled)
    bar = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
    return bar + "·" * (columns - len(bar))


def _scaled(level: float) -> float:
    """The filled part of the scale: 0 at QUIETEST_DB, 1 at full level."""
    decibels = 20 * math.log10(level) if level > 0 else -math.inf
    return min(max(1 - decibels / QUIETEST_DB, 0), 1)


def _paint_meter(cell: str, display: Display) -> str:
    """Green, yellow where it is loud, red where it may distort; the empty part is faint."""
    bar = cell.rstrip("·. ")
    loud, too_loud = (math.floor(part * METER_COLUMNS) for part in (LOUD_FROM, TOO_LOUD_FROM))
    zones = ((bar[:loud], GREEN), (bar[loud:too_loud], YELLOW), (bar[too_loud:], RED))
    painted_bar = "".join(display.paint(part, colour) for part, colour in zones)
    return painted_bar + display.paint(cell[len(bar) :], FAINT)


# For programs


def plain(status: Status) -> Iterator[str]:
    """Return one fact a line. Each line about a guest starts with its name."""
    agent, policy, audit = (status.get(key, {}) for key in ("agent", "policy", "audit"))
    yield (
        f"agent: {_word(agent, 'version')}, pid {_word(agent, 'pid')}, "
        f"transport {_word(agent, 'transport')}, since {_word(agent, 'since')}"
    )
    where = ", ".join(escaped(each) for each in policy.get("directories", []))
    yield f"policy: {_state_of_policy(status)}, {where}"
    yield f"audit: {_word(audit, 'where')}, {_word(audit, 'missing')} missing"
    if (server := status.get("server", {})).get("streams_max") is not None:
        yield (
            f"audio server: {_word(server, 'connections')} of {_word(server, 'connections_max')} "
            f"connections, {_word(server, 'playback_streams')} playback and "
            f"{_word(server, 'capture_streams')} capture streams of "
            f"{_word(server, 'streams_max')} each"
        )
    yield from _crowded_sinks(status)
    for prompt in status.get("prompts", []):
        yield question(prompt)
    for guest in status.get("guests", []):
        name = escaped(guest.get("name"))
        label = f", label {escaped(guest['label'])}" if guest.get("label") else ""
        uuid = f", uuid {escaped(guest['uuid'])}" if guest.get("uuid") else ""
        twin = ", not the only guest of this name" if guest.get("shares_name") is True else ""
        yield f"{name}: domid {_word(guest, 'domid')}{uuid}{label}, {_activity(guest)}{twin}"
        if qube := _qube(guest):
            yield f"{name}: {qube}"
        if (seconds := guest.get("quarantine_seconds")) is not None:
            yield f"{name}: in quarantine for {_length(seconds)} more"
        for device in guest.get("devices", []):
            yield f"{name}: device {_word(device, 'devid')} {_word(device, 'state')}"
            for stream in device.get("streams", []):
                yield f"{name}: {_plain_stream(stream)}"


def _crowded_sinks(status: Status) -> Iterator[str]:
    """Return a line for each sink that more streams play into than are mixed, or nearly so many."""
    for sink in status.get("server", {}).get("crowded_sinks", []):
        yield (
            f"sink {escaped(sink.get('name'))}: {_word(sink, 'streams')} streams play at once, "
            f"of which {_word(sink, 'mixed_max')} are heard at most: name another sink (device:) "
            "in the rules of some guests"
        )


def _qube(guest: Mapping[str, Any]) -> str:
    """Return what Qubes OS says of it, as far as that is known."""
    facts = [
        f"{shown} {escaped(guest[key])}"
        for key, shown in (("class", "class"), ("dispvm_of", "of"), ("template", "template"))
        if guest.get(key)
    ]
    if guest.get("tags"):
        facts.append(f"tags {' '.join(escaped(tag) for tag in guest['tags'])}")
    return ", ".join(facts)


def question(prompt: Mapping[str, Any]) -> str:
    """Return one line for a question that waits for an answer."""
    verb = {"capture": "record", "playback": "play"}.get(str(prompt.get("direction")), "-")
    source = f" {escaped(prompt['source'])}" if prompt.get("source") else ""
    return (
        f"prompt {_word(prompt, 'id')}: {escaped(prompt.get('guest'))} wants to {verb}{source}, "
        f"{_number(prompt, 'seconds'):.0f} s to answer"
    )


def _plain_stream(stream: Mapping[str, Any]) -> str:
    connected = "connected" if stream.get("is_heard") else "not connected"
    if stream.get("device"):
        connected += f" with {escaped(stream['device'])}"
    if stream.get("problem"):
        connected += f": {escaped(stream['problem'])}"
    return (
        f"stream {_word(stream, 'name')} {_word(stream, 'direction')} {_word(stream, 'state')}, "
        f"{_word(stream, 'decision')}, {connected}, {_word(stream, 'sound')}, "
        f"latency {_milliseconds(stream)}, "
        f"level {_number(stream, 'level') * 100:.0f}%, volume {_volume(stream)}, "
        f"gaps {_word(stream, 'gaps')}, late {_word(stream, 'late_octets')} octets "
        f"({escaped(stream.get('source') or stream.get('reason') or '-')})"
    )


def _length(seconds: object) -> str:
    """Such as 45 s, 12 min or 3 h."""
    known = float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0
    if known < 120:
        return f"{known:.0f} s"
    return f"{known / 60:.0f} min" if known < 7200 else f"{known / 3600:.0f} h"


def _activity(guest: Mapping[str, Any]) -> str:
    activities = [name for name in ("records", "plays") if guest.get(name) is True]
    return " and ".join(activities) or "silent"


def _state_of_policy(status: Status) -> str:
    policy = status.get("policy", {})
    if policy.get("problem"):
        return f"bad: {escaped(policy['problem'])}"
    rules = policy.get("rules", 0)
    return f"good: {rules} rule{'' if rules == 1 else 's'}"


# For people


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the table is too wide, the column of the lowest rank goes first; 0 always stays."""

    title: str
    rank: int
    is_number: bool = False  # aligned to the right


_COLUMNS = (
    _Column("GUEST", 0),
    _Column("", 0),  # whether the stream records now
    _Column("STREAM", 6),
    _Column("POLICY", 5),
    _Column("LEVEL", 7),
    _Column("VOL", 3, is_number=True),
    _Column("LATENCY", 4, is_number=True),
    _Column("RULE", 2),
    _Column("SOUND", 1),
)
_NAME, _MARK, _POLICY, _LEVEL, _VOLUME, _RULE = 0, 1, 3, 4, 5, 7


def table(status: Status, display: Display) -> list[str]:
    """A table whose lines fit in the terminal's width."""
    lines = [_cut(line, display) for line in _heading(status)]
    if problem := status.get("policy", {}).get("problem"):
        lines.append(
            display.paint(_cut(f"POLICY IS BAD, nobody records: {escaped(problem)}", display), RED)
        )
    for name in sorted(_shared_names(status)):
        said = f"TWO GUESTS ARE NAMED {name}: neither may record"
        lines.append(display.paint(_cut(said, display), RED))
    for guest in status.get("guests", []):
        if (seconds := guest.get("quarantine_seconds")) is not None:
            name = escaped(guest.get("name"))
            said = f"QUARANTINE: {name} is not served for {_length(seconds)} (release {name})"
            lines.append(display.paint(_cut(said, display), RED))
    for problem, names in _problems(status).items():
        said = f"NOT CONNECTED: {problem}: {', '.join(names)}"
        lines.append(display.paint(_cut(said, display), YELLOW))
    lines += [
        display.paint(_cut(said[0].upper() + said[1:], display), YELLOW)
        for said in _crowded_sinks(status)
    ]
    lines += [
        display.paint(_cut(question(prompt), display), YELLOW)
        for prompt in status.get("prompts", [])
    ]
    guests = status.get("guests", [])
    rows = [(row, guest) for guest in guests for row in _rows(guest, display)]
    if not rows:
        return [*lines, "", _cut("no guest has a sound card", display)]
    titles = tuple(column.title for column in _COLUMNS)
    shown, widths = _widths([titles, *(row for row, _ in rows)], display.columns)
    head = " ".join(_fitted(titles, index, widths, display) for index in shown)
    lines += ["", display.paint(head.rstrip(), BOLD)]
    for row, guest in rows:
        cells = [(index, _fitted(row, index, widths, display)) for index in shown]
        colour = _LABELS.get(str(guest.get("label")), "")
        lines.append(" ".join(_paint_cell(*cell, colour, display) for cell in cells).rstrip())
    return [*lines, "", _recording(status, display)]


def _problems(status: Status) -> dict[str, list[str]]:
    """Return why streams are not connected, and the names of their guests."""
    problems: dict[str, dict[str, None]] = {}
    for guest in status.get("guests", []):
        for device in guest.get("devices", []):
            for stream in device.get("streams", []):
                if stream.get("problem"):
                    guests = problems.setdefault(escaped(stream["problem"]), {})
                    guests[escaped(guest.get("name"))] = None
    return {problem: list(guests) for problem, guests in problems.items()}


def _shared_names(status: Status) -> set[str]:
    guests = status.get("guests", [])
    return {escaped(each.get("name")) for each in guests if each.get("shares_name") is True}


def _fitted(row: Sequence[str], index: int, widths: Sequence[int], display: Display) -> str:
    cell = row[index]
    if _COLUMNS[index].is_number:
        cell = " " * (widths[index] - columns_of(cell)) + cell
    return fitted(cell, widths[index], display.ellipsis)


def _recording(status: Status, display: Display) -> str:
    guests = [each for each in status.get("guests", []) if each.get("records") is True]
    names = ", ".join(f"{escaped(each.get('name'))}{_by_rules(each)}" for each in guests)
    text = f"{display.dot} recording now: {names}" if guests else "nobody records"
    return display.paint(_cut(text, display), RED if guests else FAINT)


def _by_rules(guest: Mapping[str, Any]) -> str:
    streams = (each for device in guest.get("devices", []) for each in device.get("streams", []))
    rules = dict.fromkeys(_short_source(each) for each in streams if _is_recorded(guest, each))
    return f" ({', '.join(rules)})" if rules else ""


def _is_recorded(guest: Mapping[str, Any], stream: Mapping[str, Any]) -> bool:
    """Return whether this stream records: the agent says that its guest does, and the stream is
    live."""
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


def _rows(guest: Mapping[str, Any], display: Display) -> Iterator[tuple[str, ...]]:
    """The guest's rows. Its name is on the first only."""
    name = escaped(guest.get("name"))
    devices = guest.get("devices", [])
    if not devices:
        yield (name, "", "no card", *[""] * 6)
    for device in devices:
        if not device.get("streams"):
            yield (name, "", _word(device, "state"), *[""] * 6)
            name = ""
        for stream in device.get("streams", []):
            yield (name, *_cells(guest, stream, display))
            name = ""


def _cells(
    guest: Mapping[str, Any], stream: Mapping[str, Any], display: Display
) -> tuple[str, ...]:
    return (
        f"{display.dot} REC" if _is_recorded(guest, stream) else "",
        f"{_word(stream, 'name')} {_word(stream, 'direction')}",
        _word(stream, "decision"),
        _level(stream, display),
        "muted" if stream.get("is_muted") is True else _percent(stream),
        _milliseconds(stream) if _is_running(stream) else "-",
        _short_source(stream),
        _word(stream, "sound").split(", buffer")[0],
    )


def _is_running(stream: Mapping[str, Any]) -> bool:
    return stream.get("state") == "running"


def _level(stream: Mapping[str, Any], display: Display) -> str:
    """A meter, or a word that says why there is none."""
    if not _is_running(stream):
        return _word(stream, "state")
    return meter(_number(stream, "level"), display) if stream.get("is_heard") is True else "silence"


def _short_source(stream: Mapping[str, Any]) -> str:
    """The rule's file without its directory; the plain output and `log` have the whole path."""
    source = stream.get("source")
    return escaped(PurePath(str(source)).name) if source else escaped(stream.get("reason") or "-")


def _widths(rows: Sequence[tuple[str, ...]], columns: int) -> tuple[list[int], list[int]]:
    """The indices of the columns that fit, and the width of every column."""
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


def _paint_cell(index: int, cell: str, label: str, display: Display) -> str:
    if not cell.strip():
        return cell
    if index == _LEVEL and not cell.strip().isalpha():
        return _paint_meter(cell, display)
    colours = {
        _NAME: label,
        _MARK: RED,
        _POLICY: _COLOURS.get(cell.strip(), ""),
        _LEVEL: FAINT,
        _VOLUME: YELLOW if "muted" in cell else "",
    }
    return display.paint(cell, colours.get(index, ""))


def _cut(text: str, display: Display) -> str:
    return fitted(text, display.columns, display.ellipsis).rstrip()


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "-" if value is None else escaped(value)


def _volume(stream: Mapping[str, Any]) -> str:
    """The volume, and whether it is muted: unmute returns to this volume."""
    return _percent(stream) + (" muted" if stream.get("is_muted") is True else "")


def _percent(stream: Mapping[str, Any]) -> str:
    """Return the volume; it is not known while the audio server has no such stream and none is
    set."""
    known = stream.get("volume_percent") is not None
    return f"{_number(stream, 'volume_percent'):.0f}%" if known else "-"


def _milliseconds(stream: Mapping[str, Any]) -> str:
    """Return the latency; it is not known until the audio server reports it."""
    known = stream.get("latency_ms") is not None
    return f"{_number(stream, 'latency_ms'):.1f} ms" if known else "-"


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
