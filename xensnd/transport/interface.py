"""The only interface to the hypervisor: shared pages, event channels and XenStore.

A frontend shares pages of its own and allocates event channels. A backend maps and binds what the
frontend named in XenStore. There are two implementations: `xen`, and `local` for one machine
without Xen. Code that uses this interface does not know which one it has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from xensnd.errors import LocalProtocolError, RemoteProtocolError
from xensnd.sndif.untrusted import U32_MAX


@dataclass(frozen=True, slots=True)
class EventFds:
    """What the audio core needs to wait for an event channel and to notify its peer.

    With `context` 0 both ends are eventfds: read 8 octets from `wait_fd` to clear it, write 8 to
    `notify_fd` to notify. Otherwise `clear` and `notify` are addresses of C functions
    `int (*)(void *context)` that return 0, or a negative errno.
    """

    wait_fd: int
    notify_fd: int = -1
    context: int = 0
    clear: int = 0
    notify: int = 0


class StoreDescriptor(NamedTuple):
    """A descriptor that never blocks and carries XenStore's packets, how large they may be, and how
    many requests may be under way."""

    fd: int
    payload_octets_max: int
    requests_at_once: int


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
        """Clear the events that have arrived, so that `fds.wait_fd` is readable at the next one."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`times`: how often it came since the last call of events()."""

    path: str
    token: str
    times: int = field(default=1, compare=False)


class Store(Protocol):
    """XenStore, with the rights of this domain. One thread at a time may use it.

    Relative paths start at this domain's own directory. Every method may raise TransportLost. After
    that, `fileno()` is readable, and a new Store is needed. A missing node raises KeyError, one
    that this domain may not use PermissionError. Values are text, with backslash escapes for what
    is not printable ASCII.
    """

    def read(self, path: str) -> str: ...
    def read_each(self, paths: Sequence[str]) -> Sequence[str | None]:
        """Return the values; None: there is no such node. Sooner than one after the other."""

    def write(self, path: str, value: str) -> None: ...
    def write_each(self, nodes: Mapping[str, str]) -> None:
        """Write all of these, sooner than one after the other. If one fails, others may be
        written."""

    def list(self, path: str) -> list[str]: ...
    def remove(self, path: str) -> None:
        """Remove a node and all below it; a node that is not there is no error."""

    def mkdir(self, path: str) -> None: ...
    def get_permissions(self, path: str) -> Sequence[str]:
        """Return such as ["n7", "r0"]: the owner with the right of all others, then one word for
        each further domain."""

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None: ...
    def transaction(self) -> AbstractContextManager[Store]:
        """`with store.transaction() as t:` commits at the end, and rolls back on an exception.

        Raises TransactionConflict if others wrote the same nodes meanwhile.
        """

    def transactions(self) -> Iterator[AbstractContextManager[Store]]:
        """`for attempt in store.transactions(): with attempt as t: ...`, until one commits.

        Raises TransactionConflict after very many conflicts: a guest could cause them for ever.
        """

    def watch(self, path: str, token: str) -> None:
        """Set a watch. Setting the same watch again is harmless."""

    def unwatch(self, path: str, token: str) -> None: ...
    def events(self) -> Sequence[WatchEvent]:
        """Return some of the events since the last call, each once, without blocking. `fileno()` is
        readable while there are more."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


HANDED_PAGES_MAX = 128


@dataclass(frozen=True, slots=True)
class Handed:
    """Pages or a channel on their way to another process: descriptors, and numbers that say what
    they are, as JSON has them."""

    fds: list[int]
    layout: dict[str, Any]

    def close(self) -> None:
        """Close this process's copies of the descriptors."""
        for fd in self.fds:
            os.close(fd)


class Receiver(Protocol):
    """The other process's side of what a transport hands over. It needs no device of its own."""

    @property
    def ioctls(self) -> Sequence[int]:
        """The commands of ioctl(2) that channels need."""

    def receive_pages(
        self, peer_domid: int, refs: Sequence[int], handed: Sequence[Handed], *, writable: bool
    ) -> Pages:
        """Map the pages. The descriptors are closed in any case."""

    def receive_channel(self, handed: Handed, end: Callable[[], None]) -> EventChannel:
        """Use the channel. `end` is called when it is closed."""


class Transport(Protocol):
    """What a domain can do with other domains.

    A reference or port that the peer did not offer raises RemoteProtocolError; a hypervisor that
    is gone raises TransportLost.
    """

    @property
    def domid(self) -> int: ...
    @property
    def runtime_directory(self) -> Path:
        """The directory of an agent's locks and state while it runs. All users may enter it, so its
        files need modes of their own."""

    def open_store(self) -> Store:
        """Open a connection to XenStore."""

    def connect_store(self) -> StoreDescriptor:
        """Open a connection for another process. The caller closes it. TransportLost: there is no
        XenStore."""

    def recent_card_nodes(self, peer_domid: int, devid: int) -> Mapping[str, str] | None:  # noqa: ARG002
        """Return what XenStore held of a guest's card within the last second, as
        read_card_nodes() does; None: it was not read."""
        return None

    def hand_pages(self, peer_domid: int, refs: Sequence[int]) -> Handed:
        """Return what another process needs to map the pages, with a Receiver. The caller closes
        the descriptors. At most HANDED_PAGES_MAX references at once."""

    def hand_channel(self, peer_domid: int, peer_port: int) -> Handed:
        """Bind a channel for another process. It ends with end_channel() or with the transport."""

    def hand_lasting_channel(self, peer_domid: int, peer_port: int) -> Handed:
        """Bind a lasting channel for another process: see bind_lasting_channel()."""
        return self.hand_channel(peer_domid, peer_port)

    def end_channel(self, port: int) -> None:
        """End a channel that was handed over. Its receiver closes its own descriptors then."""

    def share_pages(self, peer_domid: int, count: int) -> Pages: ...
    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages: ...
    def allocate_channel(self, peer_domid: int) -> EventChannel: ...
    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel: ...
    def bind_lasting_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        """Bind a channel that may outlive this process: to close it leaves it bound. If another
        process has bound channels for the one before this, return the same one again."""

    def end_lasting_channel(self, peer_domid: int, peer_port: int) -> None:
        """End such a channel. One that is not there is no error."""

    def adopt_channel(self, handed: Handed) -> None:
        """Keep a channel that another process of this domain has bound and handed over: it does
        not end with that process, but with end_channel() and the last of its descriptors."""

    def close(self) -> None: ...


class TransactionConflict(Exception):
    """Others wrote the same nodes meanwhile: do the whole transaction again."""


def require_u32(peer_domid: int, what: str, untrusted_number: int) -> None:
    """Check a reference or port that the peer named. RemoteProtocolError: it has more than 32
    bits."""
    if not 0 <= untrusted_number <= U32_MAX:
        raise RemoteProtocolError(
            f"dom{peer_domid} offers {what} {untrusted_number}, allowed are 32 bits"
        )


def map_handed(
    transport: Transport,
    receiver: Receiver,
    peer_domid: int,
    refs: Sequence[int],
    *,
    writable: bool,
) -> Pages:
    """Map pages that a transport hands over, piece by piece."""
    if not refs:
        raise LocalProtocolError(f"no page of dom{peer_domid} to map")
    handed: list[Handed] = []
    try:
        for start in range(0, len(refs), HANDED_PAGES_MAX):
            some = refs[start : start + HANDED_PAGES_MAX]
            handed.append(transport.hand_pages(peer_domid, some))
    except BaseException:
        for each in handed:
            each.close()
        raise
    return receiver.receive_pages(peer_domid, refs, handed, writable=writable)
