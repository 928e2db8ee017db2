"""The limits that a rule may set besides its verbs, as one table.

The loader reads limits by this table, messages and files are written by it, and the JSON schema is
made from it. A new limit is a field of Options and a Key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policy.text import values
from xensnd.sndif.formats import PLAYABLE, SampleFormat


class OnDeny(StrEnum):
    """What happens to a denied stream."""

    SILENCE = "silence"  # it opens, and runs in silence until it is allowed
    REFUSE = "refuse"  # it cannot be opened


@dataclass(frozen=True, slots=True)
class Options:
    """The limits of one rule, for each direction that it names. None: policy sets no limit."""

    max_volume_percent: int | None = None
    on_deny: OnDeny = OnDeny.SILENCE
    device: str | None = None  # of the audio server: a sink for playback, a source for capture
    allows_monitor: bool = False  # the device may be a sink's monitor
    formats: tuple[SampleFormat, ...] | None = None
    rates_hz: tuple[int, ...] | None = None
    max_streams: int | None = None  # open at once, of this guest in this direction
    max_buffer_octets: int | None = None  # of one stream, in the guest's memory
    max_memory_octets: int | None = None  # of all its open streams' buffers in this direction
    budget_percent: int | None = None  # of what the guest may cause in a time
    latency_usec: int | None = None  # of one stream, queued in dom0

    @property
    def fields(self) -> dict[str, str]:
        """Key and value, as in a file, of each limit that differs from the default."""
        return {
            key.name: key.write(value)
            for key in KEYS
            if (value := getattr(self, key.field)) != getattr(NO_OPTIONS, key.field)
        }


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Key:
    """One limit: its key in a file, its field of Options, and how it is read and written."""

    name: str  # in a file
    field: str  # of Options
    read: Callable[[str], Any]  # from text to the value; of one item, if it is a list
    write: Callable[[Any], str]  # the whole value, also if it is a list
    schema: Mapping[str, Any]  # JSON Schema; of one item, if it is a list
    description: str
    is_list: bool = False


def _read_on_deny(text: str) -> OnDeny:
    if text not in tuple(OnDeny):
        raise values.InvalidValue("is not silence or refuse", "write silence or refuse")
    return OnDeny(text)


def _read_monitor(text: str) -> bool:
    if text != "allow":
        raise values.InvalidValue("is not allow", "write allow, or leave it out")
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
        "What happens to a denied stream: it runs in silence (default), or it cannot be opened.",
    ),
    Key(
        "device",
        "device",
        values.read_device,
        str,
        {
            "type": "string",
            "pattern": rf"^{values.DEVICE_PATTERN}$",
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
        {"type": "integer", "minimum": values.RATE_HZ_MIN, "maximum": values.RATE_HZ_MAX},
        "The rates that the guest may open, in frames a second.",
        is_list=True,
    ),
    Key(
        "max-streams",
        "max_streams",
        values.read_stream_count,
        str,
        {"type": "integer", "minimum": 1, "maximum": values.STREAMS_MAX},
        "How many streams the guest may have open at once, in this direction.",
    ),
    Key(
        "max-buffer",
        "max_buffer_octets",
        values.read_octets,
        values.write_octets,
        {
            "type": ["string", "integer"],
            "pattern": f"^{values.OCTETS_PATTERN}$",
            "minimum": values.BUFFER_OCTETS_MIN,
            "maximum": values.BUFFER_OCTETS_MAX,
            "examples": ["256KiB"],
        },
        "The largest buffer of a stream, in octets.",
    ),
    Key(
        "max-memory",
        "max_memory_octets",
        values.read_octets,
        values.write_octets,
        {
            "type": ["string", "integer"],
            "pattern": f"^{values.OCTETS_PATTERN}$",
            "minimum": values.BUFFER_OCTETS_MIN,
            "maximum": values.BUFFER_OCTETS_MAX,
            "examples": ["2MiB"],
        },
        "How large the buffers of all streams that the guest has open in this direction may be "
        "together, in octets.",
    ),
    Key(
        "budget",
        "budget_percent",
        values.read_budget,
        values.write_percent,
        {"type": "string", "pattern": "^([1-9][0-9]{1,2}|1000)%$", "examples": ["50%", "200%"]},
        "How much the guest may make dom0 do in a time, of what guests may by default: requests, "
        "changes of its nodes, connections, records in the audit trail, questions to a person.",
    ),
    Key(
        "latency",
        "latency_usec",
        values.read_milliseconds,
        values.write_milliseconds,
        {
            "type": "string",
            "pattern": f"^{values.MILLISECONDS_PATTERN}$",
            "examples": ["20ms"],
        },
        "How much sound of one stream dom0 may keep queued.",
    ),
)
