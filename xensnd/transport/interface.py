"""The one seam to the hypervisor: pages, event channels and the store.

Two roles use it. A frontend shares pages of its own and allocates event channels; a backend maps
and binds what the frontend named in XenStore. Implementations: `local` (this machine, no Xen) and
`xen`. Nothing above this module knows which one it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PAGE_OCTETS = 4096


@dataclass(frozen=True, slots=True)
class EventFds:
    """How the audio core waits for an event channel and notifies its peer, without Python.

    With `context` 0 both ends are eventfds: read 8 octets from `wait_fd` to clear it, write 8 to
    `notify_fd` to notify. Otherwise `clear` and `notify` are addresses of C functions
    `int (*)(void *context)` that return 0, or a negative errno.
    """

    wait_fd: int
    notify_fd: int = -1
    context: int = 0
    clear: int = 0
    notify: int = 0


class Pages(Protocol):
    """A run of pages at one address of this process, shared with another domain.

    `refs` are their grant references, in the order of the addresses.
    """

    @property
    def address(self) -> int: ...
    @property
    def octets(self) -> int: ...
    @property
    def refs(self) -> Sequence[int]: ...
    def close(self) -> None:
        """Unmap, and end the grant if we gave it. Closing twice is harmless."""


class EventChannel(Protocol):
    """One end of an event channel. `port` is the number in this domain."""

    @property
    def port(self) -> int: ...
    @property
    def fds(self) -> EventFds: ...
    def notify(self) -> None: ...
    def clear(self) -> None:
        """Take what has arrived, so that `fds.wait_fd` is readable again only at the next event."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchEvent:
    path: str
    token: str


class Store(Protocol):
    """XenStore, as this domain sees it. Not for use by several threads at once.

    Relative paths start at this domain's own directory. Every method may raise TransportLost;
    after that the object is dead, `fileno()` is readable, and a new one is wanted.
    Missing nodes raise KeyError, refused ones PermissionError: both are everyday.
    Values are text; what is not printable ASCII is shown with backslash escapes.
    """

    def read(self, path: str) -> str: ...
    def write(self, path: str, value: str) -> None: ...
    def list(self, path: str) -> list[str]: ...
    def remove(self, path: str) -> None:
        """Remove a node and all below it; a node that is not there is no error."""

    def mkdir(self, path: str) -> None: ...
    def get_permissions(self, path: str) -> Sequence[str]:
        """Such as ["n7", "r0"]: the owner with what all others may, then a word for each domain."""

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None: ...
    def transaction(self) -> AbstractContextManager[Store]:
        """`with store.transaction() as t:` commits at the end, rolls back on an exception.

        Raises TransactionConflict if another writer came between.
        """

    def transactions(self) -> Iterator[AbstractContextManager[Store]]:
        """`for attempt in store.transactions(): with attempt as t: ...`, until one commits.

        After very many conflicts it raises TransactionConflict: a guest could go on for ever.
        """

    def watch(self, path: str, token: str) -> None:
        """Setting the same watch again is harmless."""

    def unwatch(self, path: str, token: str) -> None: ...
    def events(self) -> Sequence[WatchEvent]:
        """What has fired since the last call; never blocks. `fileno()` polls readable before."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Transport(Protocol):
    """What a domain can do with the others.

    A reference or port that the peer did not offer raises RemoteProtocolError; a hypervisor that
    is gone raises TransportLost.
    """

    @property
    def domid(self) -> int: ...
    @property
    def runtime_directory(self) -> Path:
        """Where an agent keeps its locks and state while it runs. Others may pass through it: what
        they may not read says so itself."""

    def open_store(self) -> Store:
        """A new connection of its own."""

    def share_pages(self, peer_domid: int, count: int) -> Pages: ...
    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages: ...
    def allocate_channel(self, peer_domid: int) -> EventChannel: ...
    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel: ...
    def close(self) -> None: ...


class TransactionConflict(Exception):
    """Another writer came between: do the whole transaction again."""
