"""What the platform knows of its guests: the file that xensnd-qubes writes on Qubes OS.

version: 1
guests:
  - {guest: work, class: AppVM, label: blue, tags: [], template: fedora-41, dispvm-of: ''}

What an entry leaves out is not known. Of a guest that no entry names, nothing is known: it may have
started a moment ago. So a guest never gains a permission while its entry is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from policy.language import fields, files, identities
from policy.language.fields import Reader
from policy.language.identities import MAX_ENTRIES, NAMES_ALONE, Identities
from policy.matching import GuestIdentity, Kind, find_word_mistake, split_kind
from policy.paths import PolicyPaths
from policy.text import nodes, values
from policy.text.nodes import ListNode, Node

MAX_TAGS = 256  # Qubes adds tags of its own, such as created-by-dom0


@dataclass(frozen=True, slots=True)
class PlatformFile:
    guests: Mapping[str, GuestIdentity]  # by their names

    def guest(self, name: str, uuid: str | None = None) -> GuestIdentity:
        known = self.guests.get(name)
        return GuestIdentity(name, uuid or None) if known is None else replace(known, uuid=uuid)


@dataclass(frozen=True, slots=True)
class PlatformAndSite:
    """The platform's identities, and the tags that the file tags.yaml adds. Where the platform
    does not know a guest's tags, that file does not either: it has only some of them."""

    platform: Identities
    site: Identities

    def guest(self, name: str, uuid: str | None = None) -> GuestIdentity:
        known = self.platform.guest(name, uuid)
        if known.tags is None:
            return known
        return replace(known, tags=known.tags | (self.site.guest(name, uuid).tags or frozenset()))

    @property
    def is_missing(self) -> bool:
        """Whether the platform's file is not there, so that nothing is known of any guest."""
        return self.platform is NAMES_ALONE


def load(paths: PolicyPaths, tags: Path | None = None) -> Identities:
    """What is known of guests. `tags`: in place of the tags file that belongs to the policy.
    Raises only PolicyError."""
    if tags is None:
        site = identities.load(paths.tags_file)
    else:
        site = identities.load(tags, may_be_missing=False)
    if paths.platform is None:
        return site
    if not files.exists(paths.platform):
        return PlatformAndSite(NAMES_ALONE, site)
    return PlatformAndSite(parse(files.read_trusted(paths.platform), paths.platform), site)


def parse(octets: bytes, file: Path) -> PlatformFile:
    """The entries in a platform's file. Raises only PolicyError."""
    root = nodes.parse(files.decode(octets, file), file)
    found: tuple[GuestIdentity, ...] = fields.read_document(
        "guests", root, file, "guests", _read_entries
    )
    return PlatformFile({guest.name: guest for guest in found})


def _read_entries(key: str, node: Node) -> tuple[GuestIdentity, ...]:
    return fields.read_items(key, node, _read_entry, MAX_ENTRIES)


def _read_entry(node: Node) -> GuestIdentity:
    found = fields.read_mapping("an entry", node, _READERS)
    if "guest" not in found:
        raise node.start.error("guest is missing", "write guest: NAME")
    return GuestIdentity(
        name=found["guest"],
        label=found.get("label"),
        tags=frozenset(found["tags"]) if "tags" in found else None,
        qube_class=found.get("class"),
        template=found.get("template"),
        dispvm_of=found.get("dispvm-of"),
    )


def _read_name(key: str, node: Node) -> str:
    name = fields.read_pattern(key, node, "write a name")
    if split_kind(name)[0] is not Kind.NAME:
        raise node.start.error(f"{key} is not a name", "write a name")
    return name


def _read_word(text: str) -> str:
    """One word; an empty text says that the guest has none."""
    if text and (mistake := find_word_mistake(text)):
        raise values.InvalidValue(mistake, "write one word, or '' for none")
    return text


def _read_tags(key: str, node: Node) -> tuple[str, ...]:
    if isinstance(node, ListNode) and not node.items:
        return ()
    return fields.read_values(key, node, read=_read_word, most=MAX_TAGS)


_READERS: Mapping[str, Reader] = {
    "guest": _read_name,
    "label": partial(fields.read_value, read=_read_word),
    "tags": _read_tags,
    "class": partial(fields.read_value, read=_read_word),
    "template": partial(fields.read_value, read=_read_word),
    "dispvm-of": partial(fields.read_value, read=_read_word),
}
