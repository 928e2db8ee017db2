"""What a rule may say besides a verb: its limits. Each is one field, one key, one pair of words.

This table is all there is of an option: the loader reads by it, rules are shown by it, and the
schema is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policy.text import values
from xensnd.sndif.formats import PLAYABLE, SampleFormat


class OnDeny(StrEnum):
    """What a stream meets that is denied."""

    SILENCE = "silence"  # it opens, and ticks in silence until it is allowed
    REFUSE = "refuse"  # it cannot be opened


@dataclass(frozen=True, slots=True)
class Options:
    """The limits of one rule, in each direction that it speaks of. None: none of policy's."""

    max_volume_percent: int | None = None
    on_deny: OnDeny = OnDeny.SILENCE
    device: str | None = None  # of the audio server: a sink for playback, a source for capture
    allows_monitor: bool = False  # the device may be a sink's monitor
    formats: tuple[SampleFormat, ...] | None = None
    rates_hz: tuple[int, ...] | None = None
    max_streams: int | None = None  # open at once, of this guest in this direction
    max_buffer_octets: int | None = None  # of one stream, in the guest's memory
    latency_usec: int | None = None  # what dom0 may keep queued of a stream

    @property
    def said(self) -> dict[str, str]:
        """Key and value of each that differs from the default, as a file has them."""
        return {
            key.name: key.write(value)
            for key in KEYS
            if (value := getattr(self, key.field)) != getattr(NO_OPTIONS, key.field)
        }


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Key:
    name: str  # in a file
    field: str  # of Options
    read: Callable[[str], Any]  # text to value; of a list, one item
    write: Callable[[Any], str]
    schema: Mapping[str, Any]  # JSON Schema; of a list, of one item
    about: str
    is_list: bool = False


def _read_on_deny(text: str) -> OnDeny:
    if text not in tuple(OnDeny):
        raise values.NotAValue("is not one of silence, refuse", "write silence or refuse")
    return OnDeny(text)


def _read_monitor(text: str) -> bool:
    if text != "allow":
        raise values.NotAValue("is not allow", "write allow, or leave it out")
    return True


def _write_monitor(_allows: bool) -> str:
    return "allow"


def _write_list(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda items: f"[{', '.join(map(write, items))}]"


KEYS = (
    Key(
        "max-volume",
        "max_volume_percent",
        values.read_percent,
        values.write_percent,
        {"type": "string", "pattern": "^([1-9][0-9]?|100)%$", "examples": ["80%"]},
        "The guest's sound is never louder than this.",
    ),
    Key(
        "on-deny",
        "on_deny",
        _read_on_deny,
        str,
        {"enum": [str(each) for each in OnDeny]},
        "What a denied stream meets: silence on a running clock (default), or refusal.",
    ),
    Key(
        "device",
        "device",
        values.read_device,
        str,
        {
            "type": "string",
            "pattern": r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$",
        },
        "The one sink (playback) or source (capture) of the audio server that the guest may use.",
    ),
    Key(
        "monitor",
        "allows_monitor",
        _read_monitor,
        _write_monitor,
        {"enum": ["allow"]},
        "The device of the rule is a sink's monitor: the guest hears what others play.",
    ),
    Key(
        "formats",
        "formats",
        values.read_format,
        _write_list(lambda sample_format: sample_format.wire_name),
        {"enum": [sample_format.wire_name for sample_format in PLAYABLE]},
        "The sample formats that the guest may open.",
        is_list=True,
    ),
    Key(
        "rates",
        "rates_hz",
        values.read_rate,
        _write_list(str),
        {"type": "integer", "minimum": 1_000, "maximum": 768_000},
        "The rates that the guest may open, in frames a second.",
        is_list=True,
    ),
    Key(
        "max-streams",
        "max_streams",
        values.read_count,
        str,
        {"type": "integer", "minimum": 1, "maximum": 64},
        "How many streams the guest may have open at once, in this direction.",
    ),
    Key(
        "max-buffer",
        "max_buffer_octets",
        values.read_octets,
        values.write_octets,
        {
            "type": ["string", "integer"],
            "pattern": "^[1-9][0-9]{0,8}(KiB|MiB)?$",
            "minimum": 1 << 10,
            "maximum": 16 << 20,
            "examples": ["256KiB"],
        },
        "The largest buffer of a stream, in octets.",
    ),
    Key(
        "latency",
        "latency_usec",
        values.read_milliseconds,
        values.write_milliseconds,
        {"type": "string", "pattern": "^[0-9]{1,4}([.][0-9]{1,3})?ms$", "examples": ["20ms"]},
        "How much of a stream dom0 may keep queued.",
    ),
)
