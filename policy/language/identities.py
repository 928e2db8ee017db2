"""The tags and the label of each guest, as the platform or the file tags.yaml gives them.

version: 1
guests:
  - guest: work          # a name, a glob or uuid:
    label: blue          # the first entry that matches and has a label sets it
    tags: [calls, office]  # the tags of all entries that match are added up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from policy.language import fields, files
from policy.language.fields import Reader
from policy.matching import GuestIdentity, Kind, applies_to, find_word_mistake, split_kind
from policy.text import nodes, values
from policy.text.nodes import Node
from xensnd.text import quoted

MAX_ENTRIES = 10_000
MAX_TAGS = 32  # of one entry


class Identities(Protocol):
    """A source of tags and labels, such as a file."""

    def guest(self, name: str, uuid: str | None = None) -> GuestIdentity:
        """The guest of this name. What is not known is None; that is not an error."""


class NamesAlone:
    """No source of tags and labels: they are not known."""

    def guest(self, name: str, uuid: str | None = None) -> GuestIdentity:
        return GuestIdentity(name, uuid or None)


NAMES_ALONE = NamesAlone()


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of `guests:`."""

    guest: str  # a name, a glob or uuid:
    label: str | None
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class TagsFile:
    """The entries of tags.yaml. A guest that no entry matches has no tags and no label."""

    entries: tuple[Entry, ...]

    def guest(self, name: str, uuid: str | None = None) -> GuestIdentity:
        """Tags and label are not known if an entry compares the UUID, and that is not known."""
        bare = GuestIdentity(name, uuid or None)
        matches = [(entry, applies_to(entry.guest, bare)) for entry in self.entries]
        if any(is_match is None for _, is_match in matches):
            return bare
        mine = [entry for entry, is_match in matches if is_match]
        label = next((entry.label for entry in mine if entry.label is not None), "")
        tags = frozenset[str]().union(*(entry.tags for entry in mine))
        return GuestIdentity(name, bare.uuid, label, tags)


def load(path: Path, may_be_missing: bool = True) -> Identities:
    """The tags file, or NAMES_ALONE if there is none. Raises only PolicyError."""
    if may_be_missing and not files.exists(path):
        return NAMES_ALONE
    return parse(files.read_trusted(path), path)


def parse(octets: bytes, file: Path) -> TagsFile:
    """The entries in a tags file's octets. Raises only PolicyError."""
    root = nodes.parse(files.decode(octets, file), file)
    return TagsFile(fields.read_document("tags", root, file, "guests", _read_entries))


def _read_entries(key: str, node: Node) -> tuple[Entry, ...]:
    return fields.read_items(key, node, _read_entry, MAX_ENTRIES)


def _read_entry(node: Node) -> Entry:
    found = fields.read_mapping("an entry", node, _READERS)
    if "guest" not in found:
        raise node.start.error("guest is missing", "write guest: NAME")
    if len(found) == 1:
        raise node.start.error("the entry has no label and no tags", "add label: or tags:")
    return Entry(found["guest"], found.get("label"), frozenset(found.get("tags", ())))


def _read_pattern(key: str, node: Node) -> str:
    hint = "write a name, a glob in quotes such as 'work-*', or uuid:"
    pattern = fields.read_pattern(key, node, hint)
    kind = split_kind(pattern)[0]
    if kind in (Kind.TAG, Kind.LABEL):
        message = f"{key} {quoted(pattern)} starts with {kind}:, which this file itself defines"
        raise node.start.error(message, hint)
    return pattern


def _read_word(text: str) -> str:
    if mistake := find_word_mistake(text):
        raise values.InvalidValue(mistake, "write one word")
    return text


_READERS: Mapping[str, Reader] = {
    "guest": _read_pattern,
    "label": partial(fields.read_value, read=_read_word),
    "tags": partial(fields.read_values, read=_read_word, most=MAX_TAGS),
}
