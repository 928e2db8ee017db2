"""What the process of an engine may reply. Whoever says something else has been taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from xensnd.core import Admission, BackendStats, ClientState, Violation
from xensnd.text import escaped
from xensnd.transport.interface import EventFds

_PACKET_OCTETS = 64
_TEXT_CHARACTERS_MAX = 512  # of a source's name, or an error
_STREAMS_MAX = 4096


class Nonsense(ValueError):
    """It is not what such a reply can be."""


def nothing(untrusted: object) -> None:
    _require(untrusted is None)


def integer(untrusted: object) -> int:
    if not isinstance(untrusted, int) or not -(2**63) <= untrusted < 2**64:
        raise Nonsense
    return untrusted


def flag(untrusted: object) -> bool:
    if not isinstance(untrusted, bool):
        raise Nonsense
    return untrusted


def text(untrusted: object) -> str:
    if not isinstance(untrusted, str):
        raise Nonsense
    return escaped(untrusted, _TEXT_CHARACTERS_MAX)


def octets(least: int, most: int) -> Callable[[object], bytes]:
    """Return what checks for so many of them."""

    def check(untrusted: object) -> bytes:
        if not isinstance(untrusted, str) or len(untrusted) > 2 * most:
            raise Nonsense
        decoded = bytes.fromhex(untrusted)  # which skips spaces
        _require(least <= len(decoded))
        return decoded

    return check


def admission(untrusted: object) -> Admission:
    return Admission(integer(untrusted))


def stats(untrusted: object) -> BackendStats:
    names = BackendStats.__slots__
    return BackendStats(*map(integer, _list(untrusted, len(names))))


def channel(untrusted: object) -> tuple[int, EventFds]:
    number, fds = _list(untrusted, 2)
    return integer(number), EventFds(*map(integer, _list(fds, len(EventFds.__slots__))))


@dataclass(frozen=True, slots=True)
class StreamSeen:
    violation: Violation
    audio_error: str | None = None
    audio_index: int | None = None
    source: tuple[int, str] | None = None
    request: bytes | None = None  # of a card, that waits for an answer
    word: int | None = None  # of a vchan, that waits
    is_open: bool = True  # a vchan: whether the guest's end is there


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the core says of itself; nothing, if it is lost. If it is late, it is what it said
    last, without requests and control words, which may have been answered since then."""

    pauses: int = 0
    clients: Mapping[str, tuple[ClientState, str]] = field(default_factory=dict)  # by number
    streams: Mapping[str, StreamSeen] = field(default_factory=dict)
    is_late: bool = False

    def kept(self) -> Snapshot:
        """Return what of it counts while the core is late."""
        streams = {
            number: replace(each, request=None, word=None) for number, each in self.streams.items()
        }
        return replace(self, streams=streams, is_late=True)


def snapshot(untrusted: object) -> Snapshot:
    whole = _map(untrusted)
    return Snapshot(
        integer(whole["pauses"]),
        {number: _client(each) for number, each in _map(whole["clients"]).items()},
        {number: _stream(each) for number, each in _map(whole["streams"]).items()},
    )


def _client(untrusted: object) -> tuple[ClientState, str]:
    state, error = _list(untrusted, 2)
    return ClientState(integer(state)), text(error)


def _stream(untrusted: object) -> StreamSeen:
    violation, error, index, source, request, word, is_open = _list(untrusted, 7)
    return StreamSeen(
        Violation(integer(violation)),
        None if error is None else text(error),
        None if index is None else integer(index),
        None if source is None else _source(source),
        None if request is None else octets(_PACKET_OCTETS, _PACKET_OCTETS)(request),
        None if word is None else integer(word),
        flag(is_open),
    )


def _source(untrusted: object) -> tuple[int, str]:
    index, name = _list(untrusted, 2)
    if not isinstance(name, str):
        raise Nonsense
    return integer(index), name[:_TEXT_CHARACTERS_MAX]


def _list(untrusted: object, length: int) -> list[object]:
    if not isinstance(untrusted, list) or len(untrusted) != length:
        raise Nonsense
    return untrusted


def _map(untrusted: object) -> dict[str, object]:
    if not isinstance(untrusted, dict) or len(untrusted) > _STREAMS_MAX:
        raise Nonsense
    return untrusted


def _require(holds: bool) -> None:
    if not holds:
        raise Nonsense
