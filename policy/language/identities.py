"""Who a guest is: the tags and the label that the platform, or tags.yaml, gives it.

version: 1
guests:
  - guest: work          # a name, a glob or uuid:
    label: blue          # the first entry that matches and has one
    tags: [calls, office]  # of all entries that match
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from policy.language import fields, files
from policy.language.fields import Reader
from policy.matching import Guest, Kind, complaint, kind_of, speaks_of, word_complaint
from policy.text import nodes, values
from policy.text.nodes import ListNode, Node
from policy.text.places import Place
from xensnd.text import quoted

TAGS_FILE = "tags.yaml"  # beside the first policy directory
MAX_ENTRIES = 10_000
MAX_TAGS = 32  # of one entry


class Identities(Protocol):
    """Knows more of a guest than its name, such as a file."""

    def guest(self, name: str, uuid: str | None = None) -> Guest:
        """The guest of this name; what is not known is None, and no error."""


class NamesAlone:
    """Where nobody gives tags or labels: they are not known."""

    def guest(self, name: str, uuid: str | None = None) -> Guest:
        return Guest(name, uuid or None)


NAMES_ALONE = NamesAlone()


@dataclass(frozen=True, slots=True)
class Entry:
    guest: str  # a name, a glob or uuid:
    label: str | None
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class TagsFile:
    """What tags.yaml says. A guest that it does not name has no tags and no label."""

    entries: tuple[Entry, ...]

    def guest(self, name: str, uuid: str | None = None) -> Guest:
        """Tags are not known while an entry goes by a uuid and the guest's is not known."""
        bare = Guest(name, uuid or None)
        known = [(entry, speaks_of(entry.guest, bare)) for entry in self.entries]
        if any(speaks is None for _, speaks in known):
            return bare
        mine = [entry for entry, speaks in known if speaks]
        label = next((entry.label for entry in mine if entry.label is not None), "")
        return Guest(name, bare.uuid, label, frozenset().union(*(entry.tags for entry in mine)))


def load(path: Path, may_be_missing: bool = True) -> Identities:
    """The tags file; names alone, if there is none. Raises PolicyError, and nothing else."""
    if may_be_missing and not files.is_there(path):
        return NAMES_ALONE
    return parse(files.read_trusted(path), path)


def parse(octets: bytes, file: Path) -> TagsFile:
    root = nodes.parse(files.decoded(octets, file), file)
    if root is None:
        hint = "write 'version: 1' and 'guests: []', or remove it"
        raise Place(file, 1, 1, 0).error("the file has no tags in it", hint)
    top = fields.fields("a tags file", root, {"version": fields.version, "guests": _entries})
    for key, example in (("version", "version: 1"), ("guests", "guests: []")):
        if key not in top:
            raise root.start.error(f"{key} is missing", f"write '{example}'")
    return TagsFile(top["guests"])


def _entries(key: str, node: Node) -> tuple[Entry, ...]:
    if not isinstance(node, ListNode):
        message = f"{key} must be a list, got {fields.kind(node)}"
        raise node.start.error(message, "start each with '- ', or write 'guests: []' for none")
    if len(node.items) > MAX_ENTRIES:
        place = node.items[MAX_ENTRIES].start
        raise place.error(f"more than {MAX_ENTRIES} guests in one file", "use globs")
    return tuple(_entry(item) for item in node.items)


def _entry(node: Node) -> Entry:
    said = fields.fields("an entry", node, _READERS)
    if "guest" not in said:
        raise node.start.error("guest is missing", "write guest: NAME")
    if len(said) == 1:
        raise node.start.error("the entry says nothing", "add label: COLOUR or tags: [TAG]")
    return Entry(said["guest"], said.get("label"), frozenset(said.get("tags", ())))


def _guest(key: str, node: Node) -> str:
    hint = "a name, a glob in quotes such as 'work-*', or uuid:"
    guest = fields.text(key, node, hint)
    wrong = complaint(guest)
    if kind_of(guest)[0] in (Kind.TAG, Kind.LABEL):
        wrong = "goes by what this file is to say"
    if wrong:
        raise node.start.error(f"{key} {quoted(guest)} {wrong}", hint)
    return guest


def _read_word(text: str) -> str:
    if wrong := word_complaint(text):
        raise values.NotAValue(wrong, "write a word")
    return text


_READERS: Mapping[str, Reader] = {
    "guest": _guest,
    "label": partial(fields.value, read=_read_word),
    "tags": partial(fields.items, read=_read_word, most=MAX_TAGS),
}
