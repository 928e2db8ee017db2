"""Values as people write them: 80%, 256KiB, 20ms, 1h30m, 2026-11-20T18:00.

A reader takes text and returns the value, or raises InvalidValue. A writer returns the one spelling
that we write. The limits and patterns here are also those of the JSON schema. Nothing here reads
the clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from xensnd.sndif.formats import PLAYABLE, SampleFormat

MAX_DURATION = timedelta(days=365)
RATE_HZ_MIN, RATE_HZ_MAX = 1_000, 768_000
STREAMS_MAX = 64
BUDGET_PERCENT_MIN, BUDGET_PERCENT_MAX = 10, 1000
BUFFER_OCTETS_MIN, BUFFER_OCTETS_MAX = 1 << 10, 16 << 20
_LATENCY_USEC_MIN, _LATENCY_USEC_MAX = 1_000, 2_000_000

# Each of these is a regular expression in Python and in JSON Schema alike.
OCTETS_PATTERN = "([1-9][0-9]{0,8})(KiB|MiB)?"
MILLISECONDS_PATTERN = r"([0-9]{1,4}([.][0-9]{1,3})?)ms"
DURATION_PATTERN = "(?:([0-9]{1,3})d)?(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?"
TIME_PATTERN = "([01][0-9]|2[0-3]):[0-5][0-9]"
DATETIME_PATTERN = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
DEVICE_PATTERN = "[A-Za-z_][A-Za-z0-9_.:-]{0,127}"
STREAM_PATTERN = "[A-Za-z0-9][A-Za-z0-9_./-]{0,62}"

_OCTETS_IN_UNIT = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_SECONDS_IN_UNIT = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_OCTETS = re.compile(OCTETS_PATTERN)
_MILLISECONDS = re.compile(MILLISECONDS_PATTERN)
_DURATION = re.compile(DURATION_PATTERN)
_TIME = re.compile(TIME_PATTERN)
_DATETIME = re.compile(DATETIME_PATTERN)
_DEVICE = re.compile(DEVICE_PATTERN)
_STREAM = re.compile(STREAM_PATTERN)


class InvalidValue(ValueError):
    """`str()` continues a message after the value: "'x' is not ..."; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def read_percent(text: str) -> int:
    digits = text[:-1] if text.endswith("%") else ""
    return _read_integer(digits, 1, 100, "%", "write such as 80%; for no sound, deny playback")


def write_percent(percent: int) -> str:
    return f"{percent}%"


def read_budget(text: str) -> int:
    digits = text[:-1] if text.endswith("%") else ""
    hint = "write such as 50% for half of the usual, or 200%"
    return _read_integer(digits, BUDGET_PERCENT_MIN, BUDGET_PERCENT_MAX, "%", hint)


def read_octets(text: str) -> int:
    hint = "write such as 65536 or 64KiB"
    found = _match(_OCTETS, text, "is not a number of octets", hint)
    octets = int(found[1]) * _OCTETS_IN_UNIT[found[2] or ""]
    _require(BUFFER_OCTETS_MIN <= octets <= BUFFER_OCTETS_MAX, "is not 1KiB to 16MiB", hint)
    return octets


def write_octets(octets: int) -> str:
    unit = next(unit for unit in ("MiB", "KiB", "") if octets % _OCTETS_IN_UNIT[unit] == 0)
    return f"{octets // _OCTETS_IN_UNIT[unit]}{unit}"


def read_milliseconds(text: str) -> int:
    """The time in microseconds."""
    hint = "write such as 20ms"
    found = _match(_MILLISECONDS, text, "is not a time in milliseconds", hint)
    whole, _, fraction = found[1].partition(".")
    microseconds = int(whole) * 1000 + int(fraction.ljust(3, "0"))
    in_range = _LATENCY_USEC_MIN <= microseconds <= _LATENCY_USEC_MAX
    _require(in_range, "is not 1ms to 2000ms", hint)
    return microseconds


def write_milliseconds(microseconds: int) -> str:
    whole, fraction = divmod(microseconds, 1000)
    return f"{whole}{f'.{fraction:03}'.rstrip('0') if fraction else ''}ms"


def read_stream_count(text: str) -> int:
    return _read_integer(text, 1, STREAMS_MAX, "", "write a number; for no streams, deny")


def read_rate(text: str) -> int:
    """The rate in frames a second."""
    hint = "write frames a second, such as 48000"
    return _read_integer(text, RATE_HZ_MIN, RATE_HZ_MAX, "", hint)


def read_format(text: str) -> SampleFormat:
    for sample_format in PLAYABLE:
        if sample_format.wire_name == text:
            return sample_format
    names = ", ".join(sample_format.wire_name for sample_format in PLAYABLE)
    raise InvalidValue("is not a format that can be played", f"known formats: {names}")


def read_device(text: str) -> str:
    """The name of a sink or source; never a number or an @alias@."""
    hint = "write a name, not a number; 'pactl list short sinks' and 'sources' show the names"
    return _match(_DEVICE, text, "is not the name of a sink or source", hint)[0]


def read_stream(text: str) -> str:
    hint = "only xensnd-dom0 writes this; remove the grant"
    return _match(_STREAM, text, "is not the name of a stream", hint)[0]


def read_duration(text: str) -> timedelta:
    hint = "write such as 30m, 2h or 1h30m; the units are d, h, m and s, in this order"
    found = _match(_DURATION, text, "is not a length of time", hint)
    _require(bool(text), "is not a length of time", hint)
    parts = zip(found.groups(default="0"), _SECONDS_IN_UNIT.values(), strict=True)
    seconds = sum(int(number) * unit for number, unit in parts)
    _require(1 <= seconds <= MAX_DURATION.total_seconds(), "is not 1s to 365d", hint)
    return timedelta(seconds=seconds)


def is_time_of_day(text: str) -> bool:
    return _TIME.fullmatch(text) is not None


def read_datetime(text: str, start: datetime | None = None) -> datetime:
    """The date and time. With `start`, HH:MM is allowed too: the next such time after `start`."""
    if is_time_of_day(text):
        if start is None:
            hint = "write a date too, such as 2026-11-20T18:00, or add from:"
            raise InvalidValue("is a time without a date", hint)
        return _next_occurrence(time.fromisoformat(text), start)
    hint = "write such as 2026-11-20T18:00; without Z or +01:00 at the end it is local time"
    _match(_DATETIME, text, "is not a date and time", hint)
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.astimezone()
        found.astimezone(UTC)  # fails for what could not be compared with other times
    except (ValueError, OverflowError, OSError):
        raise InvalidValue("is a date and time that does not exist", hint) from None
    return found


def write_datetime(value: datetime) -> str:
    return value.isoformat(timespec="seconds" if value.second else "minutes")


def add_duration(start: datetime, duration: timedelta) -> datetime:
    try:
        return start + duration
    except OverflowError:
        raise _beyond_calendar() from None


def _next_occurrence(at: time, start: datetime) -> datetime:
    local = start.astimezone().replace(tzinfo=None)
    try:
        for days in (0, 1, 2):  # two: the clocks may skip this time on the next day
            candidate = datetime.combine(local.date() + timedelta(days=days), at).astimezone()
            if candidate > start:
                return candidate
    except (OverflowError, ValueError, OSError):
        pass
    raise _beyond_calendar()


def _beyond_calendar() -> InvalidValue:
    return InvalidValue("ends after the last date that exists", "write an earlier from:")


def _read_integer(digits: str, least: int, most: int, unit: str, hint: str) -> int:
    in_range = _INTEGER.fullmatch(digits) is not None and least <= int(digits) <= most
    _require(in_range, f"is not {least}{unit} to {most}{unit}", hint)
    return int(digits)


def _match(pattern: re.Pattern[str], text: str, message: str, hint: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise InvalidValue(message, hint)
    return found


def _require(is_valid: bool, message: str, hint: str) -> None:
    if not is_valid:
        raise InvalidValue(message, hint)
