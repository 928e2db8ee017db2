"""The guest of a rule: a name or a glob. Its check, what it matches, how YAML wants it written."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase, translate

MAX_CHARACTERS = 63

_GLOB_CHARACTER = re.compile(r"[*?[]")
_GLOB_PART = re.compile(r"\*+|\?|\[!?\]?[^]]*\]")
_SAFE_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_YAML_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


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
    return None


def is_glob(guest: str) -> bool:
    return _GLOB_CHARACTER.search(guest) is not None


def matcher(glob: str) -> Callable[[str], object]:
    """A function that is truthy for the names the glob matches, as fnmatchcase has it."""
    return re.compile(translate(glob)).match


def matches(pattern: str, name: str) -> bool:
    """Does a rule for this pattern speak of the guest of this name?"""
    return fnmatchcase(name, pattern)


def covers(outer: str, inner: str) -> bool:
    """Does outer match whatever inner, a name or a glob, can match?

    For a glob it is tried with two samples, each star once as nothing and once as two characters
    that nobody can write in a pattern: good for what people write.
    """
    if outer == inner or not is_glob(inner):
        return outer == inner or matches(outer, inner)
    return all(matches(outer, _sample(inner, star)) for star in ("", "\ue000\ue001"))


def may_overlap(one: str, other: str) -> bool:
    """Could a guest match both? Never wrong when it says no."""
    if not is_glob(one):
        return covers(other, one)
    if not is_glob(other):
        return covers(one, other)
    first, second = _literal_start(one), _literal_start(other)
    return first.startswith(second) or second.startswith(first)


def quoted(guest: str) -> str:
    """The guest as YAML text, quoted where any YAML reader could take it for something else."""
    if _SAFE_UNQUOTED.fullmatch(guest) and guest.lower() not in _YAML_WORDS:
        return guest
    return "'" + guest.replace("'", "''") + "'"


def _sample(glob: str, star: str) -> str:
    return _GLOB_PART.sub(lambda part: star if part[0][0] == "*" else "\ue000", glob)


def _literal_start(glob: str) -> str:
    return _GLOB_CHARACTER.split(glob, maxsplit=1)[0]
