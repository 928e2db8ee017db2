"""What XenStore says about a sound card, and where a stream's rings are.

Source: sndif.h, "Frontend XenBus Nodes" and XENSND_FIELD_*. The nodes lie in the frontend's
directory, which the guest owns: they are untrusted, whoever wrote them first. Paths are relative
to the device: `short-name`, `<pcm>/name`, `<pcm>/<stream>/type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import SampleFormat, parse_format
from xensnd.sndif.params import Interval
from xensnd.sndif.untrusted import U32_MAX, decimal
from xensnd.text import quoted

__all__ = [
    "BUFFER_SIZE",
    "CAPTURE_IN_PLACE",
    "CARD_NODES",
    "CHANNELS_MAX",
    "CHANNELS_MIN",
    "DEFAULT_BUFFER_OCTETS",
    "DEFAULT_CHANNELS",
    "DEFAULT_FORMATS",
    "DEFAULT_RATES",
    "EVENT_CHANNEL",
    "EVT_EVENT_CHANNEL",
    "EVT_RING_REF",
    "LIST_SEPARATOR",
    "LONG_NAME",
    "LONG_NAME_MAX_OCTETS",
    "MAX_PCMS",
    "MAX_RATES",
    "MAX_STREAMS",
    "NAME",
    "NAME_MAX_OCTETS",
    "RING_REF",
    "SAMPLE_FORMATS",
    "SAMPLE_FORMAT_MAX_LEN",
    "SAMPLE_RATES",
    "SAMPLE_RATE_MAX_LEN",
    "SHORT_NAME",
    "SHORT_NAME_MAX_OCTETS",
    "SUPPORTED_VERSIONS",
    "TYPE",
    "UNIQUE_ID",
    "UNIQUE_ID_MAX_OCTETS",
    "VERSION",
    "VERSIONS",
    "CardConfig",
    "Direction",
    "PcmConfig",
    "StreamConfig",
    "StreamRings",
    "card_nodes",
    "parse_card",
    "parse_rings",
]

VERSIONS = "versions"
VERSION = "version"
SHORT_NAME = "short-name"
LONG_NAME = "long-name"
NAME = "name"
TYPE = "type"
UNIQUE_ID = "unique-id"
CHANNELS_MIN = "channels-min"
CHANNELS_MAX = "channels-max"
SAMPLE_RATES = "sample-rates"
SAMPLE_FORMATS = "sample-formats"
BUFFER_SIZE = "buffer-size"
RING_REF = "ring-ref"
EVENT_CHANNEL = "event-channel"
EVT_RING_REF = "evt-ring-ref"
EVT_EVENT_CHANNEL = "evt-event-channel"
LIST_SEPARATOR = ","

# All that parse_card() and parse_rings() read, at whatever level.
CARD_NODES = frozenset(
    (
        *(SHORT_NAME, LONG_NAME, NAME, TYPE, UNIQUE_ID),
        *(CHANNELS_MIN, CHANNELS_MAX, SAMPLE_RATES, SAMPLE_FORMATS, BUFFER_SIZE),
        *(RING_REF, EVENT_CHANNEL, EVT_RING_REF, EVT_EVENT_CHANNEL),
    )
)

SUPPORTED_VERSIONS = "1,2"
"""What a backend publishes. Linux does not read it, and speaks version 2."""

CAPTURE_IN_PLACE = "feature-capture-in-place"
"""Not of sndif.h. A backend that publishes "1" has written what was recorded into the buffer before
it tells the position. A frontend then needs no READ."""

SHORT_NAME_MAX_OCTETS = 32
LONG_NAME_MAX_OCTETS = 80
NAME_MAX_OCTETS = 80
SAMPLE_RATE_MAX_LEN = 11
SAMPLE_FORMAT_MAX_LEN = 24

# Limits of our own, where sndif.h has none: a UUID is 36 octets, ALSA has 8 PCMs on a card
# (without dynamic minors), the Linux driver 8 streams on a PCM and 12 rates.
UNIQUE_ID_MAX_OCTETS = 64
MAX_PCMS = 8
MAX_STREAMS = 8
MAX_RATES = 32

# What the Linux driver takes where no node says anything.
DEFAULT_CHANNELS = Interval(1, 2)
DEFAULT_RATES = Interval(5512, 48000)
DEFAULT_FORMATS = (SampleFormat.U8, SampleFormat.S16_LE)
DEFAULT_BUFFER_OCTETS = 64 * 1024

_CHANNELS_LIMIT = 255


class Direction(StrEnum):
    """Which way a stream goes, as seen by the guest."""

    PLAYBACK = "playback"
    CAPTURE = "capture"

    @property
    def wire(self) -> str:
        """Its spelling in XenStore: XENSND_STREAM_TYPE_*."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One stream with the parameters in effect, be they its own, its PCM's, its card's or defaults.

    `rates` are in Hz, in order; none listed means any of DEFAULT_RATES, as Linux has it.
    `buffer_octets` is the most it may ask for at OPEN.
    """

    index: int
    direction: Direction
    unique_id: str = ""
    channels: Interval = DEFAULT_CHANNELS
    rates: tuple[int, ...] = ()
    formats: tuple[SampleFormat, ...] = DEFAULT_FORMATS
    buffer_octets: int = DEFAULT_BUFFER_OCTETS

    @property
    def rate_range(self) -> Interval:
        return Interval(min(self.rates), max(self.rates)) if self.rates else DEFAULT_RATES

    def allows_rate(self, rate_hz: int) -> bool:
        return rate_hz in self.rates if self.rates else DEFAULT_RATES.contains(rate_hz)


@dataclass(frozen=True, slots=True)
class PcmConfig:
    index: int
    streams: tuple[StreamConfig, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class CardConfig:
    pcms: tuple[PcmConfig, ...]
    short_name: str = ""
    long_name: str = ""


def parse_card(nodes: Mapping[str, str]) -> CardConfig:
    """Read a card's configuration from its nodes: relative path to value.

    Nodes that sndif does not know are ignored. RemoteProtocolError says which node is wrong, what
    it holds and what is allowed. A lower level replaces what a higher one says, as in Linux;
    sndif.h also wants it to be a subset, which Linux does not check, nor do we.
    """
    return CardConfig(
        pcms=tuple(
            PcmConfig(
                index=pcm,
                streams=tuple(
                    _parse_stream(nodes, pcm, stream)
                    for stream in _indices(nodes, f"{pcm}/", "stream", MAX_STREAMS)
                ),
                name=_text(nodes, f"{pcm}/{NAME}", NAME_MAX_OCTETS),
            )
            for pcm in _indices(nodes, "", "PCM", MAX_PCMS)
        ),
        short_name=_text(nodes, SHORT_NAME, SHORT_NAME_MAX_OCTETS),
        long_name=_text(nodes, LONG_NAME, LONG_NAME_MAX_OCTETS),
    )


def _parse_stream(nodes: Mapping[str, str], pcm: int, stream: int) -> StreamConfig:
    where = f"{pcm}/{stream}"
    levels = (f"{where}/", f"{pcm}/", "")  # the nearest first
    minimum = _inherited(nodes, levels, CHANNELS_MIN, _channels) or DEFAULT_CHANNELS.minimum
    maximum = _inherited(nodes, levels, CHANNELS_MAX, _channels) or DEFAULT_CHANNELS.maximum
    if minimum > maximum:
        raise RemoteProtocolError(
            f"{where}: {CHANNELS_MIN} {minimum} exceeds {CHANNELS_MAX} {maximum}"
        )
    return StreamConfig(
        index=stream,
        direction=_direction(nodes, f"{where}/{TYPE}"),
        unique_id=_text(nodes, f"{where}/{UNIQUE_ID}", UNIQUE_ID_MAX_OCTETS),
        channels=Interval(minimum, maximum),
        rates=_inherited(nodes, levels, SAMPLE_RATES, _rates) or (),
        formats=_inherited(nodes, levels, SAMPLE_FORMATS, _formats) or DEFAULT_FORMATS,
        buffer_octets=_inherited(nodes, levels, BUFFER_SIZE, _buffer) or DEFAULT_BUFFER_OCTETS,
    )


def _indices(nodes: Mapping[str, str], prefix: str, what: str, limit: int) -> range:
    """The indices that are directories right below `prefix`: from 0, without a gap, at least one.

    Linux counts up from 0 and stops at a gap, so it would never serve what lies behind.
    """
    names = {path[len(prefix) :].split("/", 1)[0] for path in nodes if path.startswith(prefix)}
    found = {name for name in names if name.isascii() and name.isdigit()}
    if len(found) > limit:
        raise RemoteProtocolError(
            f"{len(found)} x {what} at {prefix or 'the device'}, limit {limit}"
        )
    for index in range(len(found)):
        if str(index) not in found:
            raise RemoteProtocolError(
                f"{what} {prefix}{index} is missing, though {len(found)} are there"
            )
    if not found:
        raise RemoteProtocolError(f"no {what} at {prefix or 'the device'}, at least 1 is needed")
    return range(len(found))


_T = TypeVar("_T")


def _inherited(
    nodes: Mapping[str, str],
    levels: tuple[str, ...],
    field: str,
    parse: Callable[[str, str], _T],
) -> _T | None:
    """The nearest level's value. `parse` takes the node's path, for its errors, and its text."""
    for level in levels:
        text = nodes.get(level + field)
        if text is not None:
            return parse(level + field, text)
    return None


def _channels(path: str, text: str) -> int:
    return decimal(text, path, 1, _CHANNELS_LIMIT)


def _buffer(path: str, text: str) -> int:
    return decimal(text, path, 1)


def _rates(path: str, text: str) -> tuple[int, ...]:
    items = _list(path, text, MAX_RATES, SAMPLE_RATE_MAX_LEN)
    return tuple(sorted({decimal(item, path, 1) for item in items}))


def _formats(path: str, text: str) -> tuple[SampleFormat, ...]:
    items = _list(path, text, len(SampleFormat), SAMPLE_FORMAT_MAX_LEN)
    try:
        return tuple(sorted({parse_format(item) for item in items}))
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{path}: {error}") from None


def _list(path: str, text: str, max_items: int, max_octets: int) -> list[str]:
    limit = max_items * (max_octets + len(LIST_SEPARATOR))
    items = text.split(LIST_SEPARATOR, max_items)
    if len(text) > limit or len(items) > max_items:
        raise RemoteProtocolError(
            f"{path} holds {quoted(text)}, allowed {max_items} items of {max_octets} octets"
        )
    return items


def _direction(nodes: Mapping[str, str], path: str) -> Direction:
    text = nodes.get(path)
    for direction in Direction:
        if text == direction.wire:
            return direction
    allowed = " or ".join(repr(direction.wire) for direction in Direction)
    if text is None:
        raise RemoteProtocolError(f"{path} is missing, allowed {allowed}")
    raise RemoteProtocolError(f"{path} holds {quoted(text)}, allowed {allowed}")


def _text(nodes: Mapping[str, str], path: str, max_octets: int) -> str:
    text = nodes.get(path, "")
    # What is not printable (line ends, direction marks, octets that are no UTF-8) could forge a
    # line of a log or a name in a mixer.
    if text.isprintable() and len(text.encode("utf-8", "replace")) <= max_octets:
        return text
    raise RemoteProtocolError(
        f"{path} holds {quoted(text)}, allowed {max_octets} octets of printable text"
    )


def card_nodes(card: CardConfig) -> dict[str, str]:
    """The nodes of a card as a toolstack writes them and the stock Linux driver reads them.

    Each stream gets its parameters in full. Names left empty, and rates not listed, get no node.
    """
    nodes = {SHORT_NAME: card.short_name, LONG_NAME: card.long_name}
    for pcm in card.pcms:
        nodes[f"{pcm.index}/{NAME}"] = pcm.name
        for stream in pcm.streams:
            fields = {
                TYPE: stream.direction.wire,
                UNIQUE_ID: stream.unique_id,
                CHANNELS_MIN: str(stream.channels.minimum),
                CHANNELS_MAX: str(stream.channels.maximum),
                SAMPLE_RATES: LIST_SEPARATOR.join(map(str, stream.rates)),
                SAMPLE_FORMATS: LIST_SEPARATOR.join(each.wire_name for each in stream.formats),
                BUFFER_SIZE: str(stream.buffer_octets),
            }
            nodes |= {f"{pcm.index}/{stream.index}/{field}": fields[field] for field in fields}
    return {path: text for path, text in nodes.items() if text}


@dataclass(frozen=True, slots=True)
class StreamRings:
    """Where a frontend put a stream's two pages, and which event channels go with them.

    sndif.h, "Stream Request Transport Parameters" and "Stream Event Transport Parameters".
    """

    ring_ref: int
    event_channel: int
    evt_ring_ref: int
    evt_event_channel: int

    NODES = (RING_REF, EVENT_CHANNEL, EVT_RING_REF, EVT_EVENT_CHANNEL)

    def nodes(self) -> dict[str, str]:
        """Relative to the stream's directory; written in one transaction."""
        return {
            RING_REF: str(self.ring_ref),
            EVENT_CHANNEL: str(self.event_channel),
            EVT_RING_REF: str(self.evt_ring_ref),
            EVT_EVENT_CHANNEL: str(self.evt_event_channel),
        }


def parse_rings(nodes: Mapping[str, str]) -> StreamRings:
    """Read the four nodes, relative to the stream's directory.

    Grant reference 0 is refused: sndif.h uses it for "none".
    """

    def number(field: str, minimum: int) -> int:
        text = nodes.get(field)
        if text is None:
            raise RemoteProtocolError(f"{field} is missing, allowed {minimum} to {U32_MAX}")
        return decimal(text, field, minimum)

    return StreamRings(
        ring_ref=number(RING_REF, 1),
        event_channel=number(EVENT_CHANNEL, 0),
        evt_ring_ref=number(EVT_RING_REF, 1),
        evt_event_channel=number(EVT_EVENT_CHANNEL, 0),
    )
