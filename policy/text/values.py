"""Values as text: 80%, 256KiB, 20ms, 1h30m, 2026-11-20T18:00. Strict both ways; no clock.

A reader takes the text that was written and raises NotAValue; a writer gives the one spelling.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from xensnd.sndif.formats import PLAYABLE, SampleFormat

LONGEST = timedelta(days=365)

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_PARTS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_OCTETS = re.compile(r"([1-9][0-9]{0,8})(KiB|MiB|)", re.ASCII)
_MILLISECONDS = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)ms", re.ASCII)
_DURATION = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")


class NotAValue(ValueError):
    """`str()` goes on from the value's text: "'x' ..."; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def read_percent(text: str) -> int:
    number = text.removesuffix("%")
    if number == text or not _NUMBER.fullmatch(number) or not 1 <= int(number) <= 100:
        raise NotAValue("is not 1% to 100%", "write such as 80%; for none, deny playback")
    return int(number)


def write_percent(percent: int) -> str:
    return f"{percent}%"


def read_octets(text: str) -> int:
    hint = "write such as 65536 or 64KiB"
    found = _OCTETS.fullmatch(text)
    if found is None:
        raise NotAValue("is no number of octets", hint)
    octets = int(found[1]) * _UNITS[found[2]]
    if not 1 << 10 <= octets <= 16 << 20:
        raise NotAValue("is not 1KiB to 16MiB", hint)
    return octets


def write_octets(octets: int) -> str:
    unit = next(unit for unit in ("MiB", "KiB", "") if octets % _UNITS[unit] == 0)
    return f"{octets // _UNITS[unit]}{unit}"


def read_milliseconds(text: str) -> int:
    """In microseconds."""
    hint = "write such as 20ms"
    found = _MILLISECONDS.fullmatch(text)
    if found is None:
        raise NotAValue("is no time in milliseconds", hint)
    whole, _, fraction = found[1].partition(".")
    microseconds = int(whole) * 1000 + int(fraction.ljust(3, "0"))
    if not 1_000 <= microseconds <= 2_000_000:
        raise NotAValue("is not 1ms to 2000ms", hint)
    return microseconds


def write_milliseconds(microseconds: int) -> str:
    whole, fraction = divmod(microseconds, 1000)
    return f"{whole}{f'.{fraction:03}'.rstrip('0') if fraction else ''}ms"


def read_count(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 64:
        raise NotAValue("is not 1 to 64", "write a number; for none, deny")
    return int(text)


def read_rate(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1_000 <= int(text) <= 768_000:
        raise NotAValue("is not 1000 to 768000", "write frames a second, such as 48000")
    return int(text)


def read_format(text: str) -> SampleFormat:
    for sample_format in PLAYABLE:
        if sample_format.wire_name == text:
            return sample_format
    names = ", ".join(sample_format.wire_name for sample_format in PLAYABLE)
    raise NotAValue("is no format that can be played", f"known: {names}")


def read_device(text: str) -> str:
    """The name of a sink or source; never a number, or an @alias@."""
    if not _DEVICE.fullmatch(text):
        raise NotAValue(
            "is no name of a sink or source",
            "write its name, not its number; 'pactl list short sinks' and 'sources' show them",
        )
    return text


def read_stream(text: str) -> str:
    if not _STREAM.fullmatch(text):
        raise NotAValue("is no name of a stream", "xensnd-dom0 writes it; remove the grant")
    return text


def read_duration(text: str) -> timedelta:
    hint = "write such as 30m, 2h or 1h30m; d, h, m and s are known, in this order"
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise NotAValue("is no length of time", hint)
    parts = zip(found.groups(default="0"), _PARTS.values(), strict=True)
    seconds = sum(int(number) * part for number, part in parts)
    if not 1 <= seconds <= LONGEST.total_seconds():
        raise NotAValue("is not 1s to 365d", hint)
    return timedelta(seconds=seconds)


def is_time_of_day(text: str) -> bool:
    return _TIME.fullmatch(text) is not None


def read_moment(text: str, start: datetime | None = None) -> datetime:
    """A date and time; with a start, also HH:MM: the next time after it that clocks show this."""
    if is_time_of_day(text):
        if start is None:
            day = "of which day? Write such as 2026-11-20T18:00, or add from:"
            raise NotAValue("is a time without a date", day)
        return _next(time.fromisoformat(text), start)
    hint = "write such as 2026-11-20T18:00; Z or +01:00 may follow, else it is local time"
    if not _MOMENT.fullmatch(text):
        raise NotAValue("is no date and time", hint)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.astimezone()
        moment.astimezone(UTC)  # can it be compared with any other?
    except (ValueError, OverflowError, OSError):
        raise NotAValue("is a date and time that there is not", hint) from None
    return moment


def write_moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds" if moment.second else "minutes")


def after(start: datetime, duration: timedelta) -> datetime:
    try:
        return start + duration
    except OverflowError:
        raise NotAValue("ends later than any calendar", "write an earlier from:") from None


def _next(at: time, start: datetime) -> datetime:
    local = start.astimezone().replace(tzinfo=None)
    try:
        for days in (0, 1, 2):  # two: where clocks leap over the time on the next day
            candidate = datetime.combine(local.date() + timedelta(days=days), at).astimezone()
            if candidate > start:
                return candidate
    except (OverflowError, ValueError, OSError):
        pass
    raise NotAValue("ends later than any calendar", "write an earlier from:")
