"""XenStore's nodes and transactions, with the semantics of Xen 4.17's C xenstored.

A transaction keeps each node as it was at the first access. It commits if none of these nodes has
been replaced in the tree since. Nodes that were only written count too, because xenstored reads a
node before it writes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntFlag
from typing import Protocol

PATH_MAX = 2048  # quota_max_path_len, not counting /local/domain/N/ in front
TRANSACTION_NODES_MAX = 1024  # quota_trans_nodes, for an unprivileged domain

_PATH = re.compile(r"/|(?:/[-a-zA-Z0-9_@]+)+")
_DOMAIN_PREFIX = re.compile(r"/local/domain/[0-9]{1,5}/")
_PERMISSION = re.compile(r"([nrwb])[ \t-\r]*([-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+))")


class StoreError(Exception):
    """A request that fails. Its text is the error's name on the wire, such as ENOENT."""


class Access(IntFlag):
    NONE = 0
    READ = 1
    WRITE = 2
    OWNER = 4
    ALL = 7


_LETTERS = {
    "n": Access.NONE,
    "r": Access.READ,
    "w": Access.WRITE,
    "b": Access.READ | Access.WRITE,
}
_LETTER_OF = {access: letter for letter, access in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class NodePermission:
    """What one domain may do. The first one of a node names its owner, and what all other domains
    may do."""

    domid: int
    access: Access
    ignored: bool = False  # its domain is gone

    @classmethod
    def parse(cls, word: str) -> NodePermission:
        match = _PERMISSION.fullmatch(word)
        if not match:
            raise StoreError("EINVAL")
        letter, number = match.groups()
        return cls(_c_integer(number), _LETTERS[letter])

    def __str__(self) -> str:
        return f"{_LETTER_OF[self.access]}{self.domid}"


def _c_integer(text: str) -> int:
    """Return the number as strtol with base 0 reads it, in 32 bits."""
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    try:
        value = int(digits, base)
    except ValueError:  # such as 09, which strtol reads as 0 and stops
        raise StoreError("EINVAL") from None
    return (-value if text.startswith("-") else value) & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Node:
    permissions: tuple[NodePermission, ...]
    value: bytes = b""
    children: tuple[str, ...] = ()
    generation: int = 0

    @property
    def owner(self) -> int:
        return self.permissions[0].domid

    @property
    def directory(self) -> bytes:
        """The names of the children, as the answer to DIRECTORY has them."""
        return b"".join(name.encode("latin-1") + b"\0" for name in self.children)

    @property
    def stored_octets(self) -> int:
        """The octets that count against the quota: header, permissions, value, names."""
        return 24 + 8 * len(self.permissions) + len(self.value) + len(self.directory)


def is_valid(path: str) -> bool:
    prefix = _DOMAIN_PREFIX.match(path)
    return (
        _PATH.fullmatch(path) is not None
        and len(path) <= (prefix.end() if prefix else 0) + PATH_MAX
    )


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


def child_of(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"


def is_below(path: str, top: str) -> bool:
    return top in {"/", path} or path.startswith(top + "/")


class View(Protocol):
    """Where a request reads and writes: the tree itself, or a transaction."""

    def get(self, path: str) -> Node | None: ...
    def put(self, path: str, node: Node) -> None: ...
    def delete(self, path: str) -> None: ...


class Tree:
    """All nodes by path. A node is never changed, only replaced, so that a change shows in its
    identity."""

    def __init__(self) -> None:
        nobody = (NodePermission(0, Access.NONE),)
        self.generation = 0
        self._nodes = {
            "/": Node(nobody, children=("tool",)),
            "/tool": Node(nobody, children=("xenstored",)),
            "/tool/xenstored": Node(nobody),
        }

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation

    def get(self, path: str) -> Node | None:
        return self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        self._nodes[path] = node

    def delete(self, path: str) -> None:
        self._nodes.pop(path, None)


@dataclass(slots=True)
class Accessed:
    """A node that a transaction has accessed."""

    original: Node | None
    current: Node | None
    modified: bool = False
    fires: bool = False
    exact: bool = True  # fires only the watches on this very path


@dataclass(slots=True)
class Transaction:
    tree: Tree
    unprivileged: bool
    accessed: dict[str, Accessed] = field(default_factory=dict)
    owned: Counter[int] = field(default_factory=Counter)  # nodes that each domain gains
    created: bool = False
    failed: bool = False

    def get(self, path: str) -> Node | None:
        return self._access(path).current

    def put(self, path: str, node: Node) -> None:
        self._modify(path, node)

    def delete(self, path: str) -> None:
        self._modify(path, None)

    def fire(self, path: str, *, exact: bool) -> None:
        """Keep an event for the commit. One for all nodes below is not narrowed later."""
        accessed = self._access(path)
        accessed.exact = exact and accessed.exact
        accessed.fires = True

    def require_unconflicted(self) -> None:
        for path, accessed in self.accessed.items():
            if self.tree.get(path) is not accessed.original:
                raise StoreError("EAGAIN")

    def commit(self) -> Iterator[tuple[str, Accessed]]:
        """Write to the tree, in the order of first access. Yields each path after it is written."""
        for path, accessed in self.accessed.items():
            if not accessed.modified:
                continue
            if accessed.current is None:
                self.tree.delete(path)
            else:
                generation = self.tree.next_generation()
                self.tree.put(path, replace(accessed.current, generation=generation))
            yield path, accessed

    def _modify(self, path: str, node: Node | None) -> None:
        accessed = self._access(path)
        accessed.current = node
        accessed.modified = True

    def _access(self, path: str) -> Accessed:
        if path not in self.accessed:
            if self.unprivileged and len(self.accessed) >= TRANSACTION_NODES_MAX:
                self.failed = True
                raise StoreError("ENOSPC")
            node = self.tree.get(path)
            self.accessed[path] = Accessed(node, node)
        return self.accessed[path]
