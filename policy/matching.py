"""The pattern of a rule (a name, a glob, or a prefix such as tag:), and which guests it matches."""

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
_SAFE_UNQUOTED = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.-]*|(?:uuid|tag|label|class|template|dispvm-of):[A-Za-z0-9_.-]+"
)
_YAML_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_PREFIXED = re.compile(r"([A-Za-z]+|dispvm[-_]of):(.*)", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WORD_WITH_GLOBS = re.compile(r"[]A-Za-z0-9_.*?[!-]+")


class Kind(StrEnum):
    """What a pattern compares. All but the first two are written as a prefix with a colon."""

    NAME = "name"
    GLOB = "glob"
    UUID = "uuid"
    TAG = "tag"
    LABEL = "label"
    CLASS = "class"  # of a qube, as Qubes OS calls it
    TEMPLATE = "template"  # from which its system comes
    DISPVM_OF = "dispvm-of"  # of which qube it is a disposable


PREFIXES = tuple(kind for kind in Kind if kind not in (Kind.NAME, Kind.GLOB))
_PREFIXES_IN_WORDS = ", ".join(f"{kind}:" for kind in PREFIXES[:-1]) + f" or {PREFIXES[-1]}:"
_WITH_GLOBS = (Kind.TEMPLATE, Kind.DISPVM_OF)
CLASSES = ("AppVM", "DispVM", "RemoteVM", "StandaloneVM", "TemplateVM")


@dataclass(frozen=True, slots=True)
class GuestIdentity:
    """What is known about a guest. None means "not known", which is not the same as "has none"."""

    name: str
    uuid: str | None = None
    label: str | None = None  # a colour; "": the guest has none
    tags: frozenset[str] | None = None
    qube_class: str | None = None  # these three on Qubes OS only; "": the guest has none
    template: str | None = None
    dispvm_of: str | None = None

    @property
    def text(self) -> str:
        """What is known besides the name, as `class AppVM, label blue`."""
        known = (
            (kind, " ".join(sorted(self.values(kind) or ())))
            for kind in (Kind.CLASS, Kind.DISPVM_OF, Kind.TEMPLATE, Kind.LABEL, Kind.TAG)
        )
        return ", ".join(f"{kind} {value}" for kind, value in known if value)

    def values(self, kind: Kind) -> frozenset[str] | None:
        """Return what a pattern of this kind, which is one of PREFIXES, is compared with."""
        if kind is Kind.TAG:
            return self.tags
        value = {
            Kind.UUID: self.uuid.lower() if self.uuid else None,
            Kind.LABEL: self.label,
            Kind.CLASS: self.qube_class,
            Kind.TEMPLATE: self.template,
            Kind.DISPVM_OF: self.dispvm_of,
        }[kind]
        return None if value is None else frozenset((value,)) - {""}


def split_kind(pattern: str) -> tuple[Kind, str]:
    """The pattern's kind, and its value without the prefix."""
    prefixed = _PREFIXED.fullmatch(pattern)
    if prefixed and prefixed[1] in PREFIXES:
        return Kind(prefixed[1]), prefixed[2]
    return (Kind.GLOB if is_glob(pattern) else Kind.NAME), pattern


def find_mistake(pattern: str) -> str | None:
    """Return what is wrong with this pattern, as text that follows it in a message; None: it is
    valid."""
    if not pattern:
        return "is empty"
    if len(pattern) > MAX_CHARACTERS:
        return f"has {len(pattern)} characters, at most {MAX_CHARACTERS} are allowed"
    if not pattern.isprintable():
        return "has a character that cannot be printed"
    if pattern != pattern.strip():
        return "starts or ends with a space"
    if prefixed := _PREFIXED.fullmatch(pattern):
        return _find_prefix_mistake(prefixed[1], prefixed[2])
    return None


def find_word_mistake(word: str) -> str | None:
    """Return what is wrong with this as a tag or label; None if it is valid."""
    if len(word) > MAX_CHARACTERS:
        return f"has {len(word)} characters, at most {MAX_CHARACTERS} are allowed"
    if not _WORD.fullmatch(word):
        return "may only have letters, digits, '_', '-' and '.'"
    return None


def _find_prefix_mistake(prefix: str, value: str) -> str | None:
    if prefix not in PREFIXES:
        close = get_close_matches(prefix.lower(), PREFIXES, n=1)
        hint = f"did you mean {close[0]}:?" if close else "write [:] for a colon in a name"
        return f"starts with {prefix}:, which is not {_PREFIXES_IN_WORDS}; {hint}"
    if prefix == Kind.UUID:
        if _UUID.fullmatch(value):
            return None
        return "is not uuid: and 8-4-4-4-12 hexadecimal digits in lower case"
    if prefix == Kind.CLASS:
        # One that no qube has would never match, so a rule that denies would be without effect.
        known = ", ".join(CLASSES)
        return None if value in CLASSES else f"is not class: and one of {known}"
    if prefix in _WITH_GLOBS and _WORD_WITH_GLOBS.fullmatch(value):
        return None
    mistake = find_word_mistake(value)
    return mistake and f"{mistake} after {prefix}:"


def is_glob(pattern: str) -> bool:
    return _GLOB_CHARACTER.search(pattern) is not None


def matches(pattern: str, name: str) -> bool:
    """Return whether this name or glob matches the guest with this name."""
    return fnmatchcase(name, pattern)


def applies_to(pattern: str, guest: GuestIdentity) -> bool | None:
    """Return whether the pattern matches the guest; None if what it compares is not known."""
    kind, value = split_kind(pattern)
    if kind is Kind.NAME:
        return guest.name == value
    if kind is Kind.GLOB:
        return matches(value, guest.name)
    values = guest.values(kind)
    if values is None:
        return None
    return any(fnmatchcase(each, value) for each in values) if is_glob(value) else value in values


def covers(outer: str, inner: str) -> bool:
    """Return whether outer matches all names that inner, a name or a glob, matches.

    A glob is tried with two sample names: each star once as nothing, and once as two characters
    that no pattern can contain. That is exact for the patterns that people write.
    """
    if outer == inner or not is_glob(inner):
        return outer == inner or matches(outer, inner)
    return all(matches(outer, _sample(inner, star)) for star in ("", "\ue000\ue001"))


def may_overlap(one: str, other: str) -> bool:
    """Return whether one name could match both names or globs. False is always right; True is a
    guess."""
    if not is_glob(one):
        return covers(other, one)
    if not is_glob(other):
        return covers(one, other)
    first, second = literal_start(one), literal_start(other)
    return first.startswith(second) or second.startswith(first)


def quote(pattern: str) -> str:
    """The pattern as YAML text, quoted where a YAML reader could take it for something else."""
    if _SAFE_UNQUOTED.fullmatch(pattern) and pattern.lower() not in _YAML_WORDS:
        return pattern
    return "'" + pattern.replace("'", "''") + "'"


def literal_start(glob: str) -> str:
    """The text with which every name that the glob matches starts."""
    return _GLOB_CHARACTER.split(glob, maxsplit=1)[0]


def literal_end(glob: str) -> str:
    """The text with which every name that the glob matches ends."""
    return _GLOB_END.split(glob)[-1]


def _sample(glob: str, star: str) -> str:
    return _GLOB_PART.sub(lambda part: star if part[0][0] == "*" else "\ue000", glob)
