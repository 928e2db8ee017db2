"""The guest of a rule: a name, a glob, uuid:, tag: or label:. Its check, and whom it speaks of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase

MAX_CHARACTERS = 63

_GLOB_CHARACTER = re.compile(r"[*?[]")
_GLOB_END = re.compile(r"[*?]|\]")
_GLOB_PART = re.compile(r"\*+|\?|\[!?\]?[^]]*\]")
_SAFE_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|(?:uuid|tag|label):[A-Za-z0-9_.-]+")
_YAML_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_PREFIXED = re.compile(r"([A-Za-z]+):(.*)", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Kind(StrEnum):
    """What a rule's guest goes by. The last three are written with the kind before a colon."""

    NAME = "name"
    GLOB = "glob"
    UUID = "uuid"
    TAG = "tag"
    LABEL = "label"


_PREFIXES = (Kind.UUID, Kind.TAG, Kind.LABEL)


@dataclass(frozen=True, slots=True)
class Guest:
    """Who a guest is. None is "not known", which is something else than having none."""

    name: str
    uuid: str | None = None
    label: str | None = None  # a colour; "": it has none
    tags: frozenset[str] | None = None


def kind_of(guest: str) -> tuple[Kind, str]:
    """A rule's guest as its kind and what stands behind the kind's colon, if it has one."""
    prefixed = _PREFIXED.fullmatch(guest)
    if prefixed and prefixed[1] in _PREFIXES:
        return Kind(prefixed[1]), prefixed[2]
    return (Kind.GLOB if is_glob(guest) else Kind.NAME), guest


def complaint(guest: str) -> str | None:
    """What is wrong with this as a rule's guest; None if nothing is."""
    if not guest:
        return "is empty"
    if len(guest) > MAX_CHARACTERS:
        return f"has {len(guest)} characters, at most {MAX_CHARACTERS} are allowed"
    if not guest.isprintable():
        return "has a character that cannot be printed"
    if guest != guest.strip():
        return "starts or ends with a space"
    if prefixed := _PREFIXED.fullmatch(guest):
        return _prefix_complaint(prefixed[1], prefixed[2])
    return None


def word_complaint(word: str) -> str | None:
    """What is wrong with this as a tag or label; None if nothing is."""
    if len(word) > MAX_CHARACTERS:
        return f"has {len(word)} characters, at most {MAX_CHARACTERS} are allowed"
    if not _WORD.fullmatch(word):
        return "is not of letters, digits, '_', '-' and '.'"
    return None


def _prefix_complaint(prefix: str, value: str) -> str | None:
    if prefix not in _PREFIXES:
        close = get_close_matches(prefix.lower(), _PREFIXES, n=1)
        mend = f"did you mean {close[0]}:?" if close else "write [:] for a colon in a name"
        return f"starts with {prefix}:, which is not uuid:, tag: or label:; {mend}"
    if prefix == Kind.UUID:
        return None if _UUID.fullmatch(value) else "is not uuid: and 8-4-4-4-12 digits of 0-9, a-f"
    wrong = word_complaint(value)
    return wrong and f"{wrong} after {prefix}:"


def is_glob(guest: str) -> bool:
    return _GLOB_CHARACTER.search(guest) is not None


def matches(pattern: str, name: str) -> bool:
    """Does this name or glob match the guest of this name?"""
    return fnmatchcase(name, pattern)


def speaks_of(pattern: str, guest: Guest) -> bool | None:
    """Does a rule for this pattern speak of this guest? None: what it goes by is not known."""
    kind, value = kind_of(pattern)
    match kind:
        case Kind.UUID:
            return guest.uuid.lower() == value if guest.uuid else None
        case Kind.TAG:
            return value in guest.tags if guest.tags is not None else None
        case Kind.LABEL:
            return guest.label == value if guest.label is not None else None
        case Kind.NAME:
            return guest.name == value
    return matches(value, guest.name)


def covers(outer: str, inner: str) -> bool:
    """Does outer match whatever inner, a name or a glob, can match?

    For a glob it is tried with two samples, each star once as nothing and once as two characters
    that nobody can write in a pattern: good for what people write.
    """
    if outer == inner or not is_glob(inner):
        return outer == inner or matches(outer, inner)
    return all(matches(outer, _sample(inner, star)) for star in ("", "\ue000\ue001"))


def may_overlap(one: str, other: str) -> bool:
    """Could a guest match both names or globs? Never wrong when it says no."""
    if not is_glob(one):
        return covers(other, one)
    if not is_glob(other):
        return covers(one, other)
    first, second = literal_start(one), literal_start(other)
    return first.startswith(second) or second.startswith(first)


def yaml_text(guest: str) -> str:
    """Return the guest as YAML text, quoted where any YAML reader could take it for another."""
    if _SAFE_UNQUOTED.fullmatch(guest) and guest.lower() not in _YAML_WORDS:
        return guest
    return "'" + guest.replace("'", "''") + "'"


def literal_start(glob: str) -> str:
    """What a name must start with to match the glob."""
    return _GLOB_CHARACTER.split(glob, maxsplit=1)[0]


def literal_end(glob: str) -> str:
    """What a name must end with to match the glob."""
    return _GLOB_END.split(glob)[-1]


def _sample(glob: str, star: str) -> str:
    return _GLOB_PART.sub(lambda part: star if part[0][0] == "*" else "\ue000", glob)
