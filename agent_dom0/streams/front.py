"""What a front is: one way in which guests have sound, such as sndif's cards.

A front finds its devices in XenStore and serves them. Everything else is shared: which guests run,
what one guest may make the agent do, whether a stream may sound, the audio server, and the trail.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from contextlib import AbstractContextManager
from typing import Protocol

from agent_dom0.guest import RunningGuest
from agent_dom0.streams.served_guest import ServedGuest
from xensnd.transport.interface import Store, WatchEvent


class Guests(Protocol):
    """The running guests, as the registry has them."""

    domid: int  # our own
    sees_all: bool  # whether we may see all that run; an audio domain sees those of its fronts

    def served(self) -> Collection[ServedGuest]: ...
    def find(self, domid: int) -> ServedGuest | None: ...
    def prepare(self, guests: Collection[ServedGuest]) -> None:
        """Begin what takes time, for guests that an earlier agent has served: all their engines
        start, and connect to the audio server, while one after the other is taken over."""

    def contained(self, domid: int, what: str) -> AbstractContextManager[None]:
        """Audit a failure for one guest once, and try again later. Other guests are served."""


class Front(Protocol):
    """A front has a device of a guest in ServedGuest.devices for as long as it serves that."""

    def use_store(self, store: Store) -> None:
        """Use a new connection to XenStore: set the front's own watches there."""

    def known_guests(self) -> set[int]:
        """Return the domids of the guests that it finds by itself, for an audio domain."""

    def identify(self, domid: int) -> RunningGuest | None:
        """Return what an audio domain can know of a guest; None: not even its name."""

    def note(self, event: WatchEvent) -> None:
        """Note an event of XenStore. follow() is called after the last one."""

    @property
    def behind(self) -> Set[int]:
        """The domids of guests whose devices may have come or gone, by what was noted: read() is
        called for these guests, before follow()."""

    def follow(self) -> None:
        """Do what was noted. Many events about one device are one step of it."""

    def read(self, guests: Sequence[ServedGuest]) -> None:
        """Read which devices these guests have, and let each of them do a step."""

    def provision(self, guest: ServedGuest) -> None:
        """Make or remove its device, as policy says."""

    def forget(self, guest: ServedGuest) -> None:
        """Close the devices of a guest that is gone."""

    def left_behind(self, running: Collection[int]) -> set[int]:
        """Return the guests that no longer run, and of which something is still in XenStore."""

    def remove(self, domid: int) -> None:
        """Remove what the front has made in XenStore for this guest, which no longer runs."""
