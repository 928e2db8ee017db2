"""What of guests an agent may reach: guests that run, pages of those whose frontend has published
its rings, and the pages of the vchans of sound that they offer.

The numbers that a frontend publishes are compared, and those in the page of a vchan. Nothing else
of a guest is looked at.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from agent_dom0.cards.device import DevicePath
from agent_dom0.guest import children
from xensnd.errors import RemoteProtocolError, TransportLost
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.sndif.store_fields import EVENT_CHANNEL, EVT_EVENT_CHANNEL, RING_REF
from xensnd.sndif.untrusted import decimal
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store, Transport
from xensnd.vchan.nodes import PORTS, VchanNodes, VchanOffer, parse_offer
from xensnd.vchan.page import parse_page

# How long what was read counts.
READ_SECONDS = 1.0
# The nodes of a larger card are not kept.
_CARD_OCTETS_MAX = 1 << 14

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Published:
    """By the frontends of a guest."""

    has_rings: bool
    ports: frozenset[int]
    cards: Mapping[int, Mapping[str, str]]  # what is read of a card, by its devid
    read_at: float


class Reach:
    """Asks XenStore, over a connection of its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._store: Store | None = None
        self._known: set[int] = set()
        self._known_at = float("-inf")
        self._published: dict[int, _Published] = {}
        self._may_ask = True
        self._backend = f"/local/domain/{transport.domid}/backend/vsnd"
        self._read_known()

    def read_all(self) -> None:
        """Read what all guests publish, before it is asked for. Raises TransportLost."""
        for domid in self._ask(lambda store: children(store, self._backend)):
            self._read_published(domid)

    def exists(self, domid: int) -> bool:
        """Return whether a domain runs, or has a card that is not removed yet. An audio domain may
        not ask; there XenStore itself limits what it may write."""
        if time.monotonic() > self._known_at + READ_SECONDS or domid not in self._known:
            self._read_known()
        return domid in self._known or not self._may_ask

    def had_rings(self, domid: int) -> bool:
        """Return whether the guest has a card, and its frontend had published a ring when it was
        looked at last."""
        return self._recent(domid).has_rings

    def has_rings(self, domid: int) -> bool:
        """Return the same as it is now, which costs a request of XenStore for each node."""
        return self._read_published(domid).has_rings

    def offers_port(self, domid: int, port: int) -> bool:
        """Return whether a frontend of the guest has published this event channel."""
        return port in self._recent(domid).ports or port in self._read_published(domid).ports

    def offers_pages(self, domid: int, refs: Set[int]) -> bool:
        """Return whether the guest offers a vchan that has all of these pages."""
        offers = self._read_vchans(domid)
        if refs <= {offer.ring_ref for offer in offers}:
            return True
        return any(refs <= self._vchan_refs(domid, offer) for offer in offers)

    def vchan_refs(self, domid: int, port: int) -> Set[int] | None:
        """Return the pages of the vchan that the guest offers with this event channel; None: there
        is none."""
        for offer in self._read_vchans(domid):
            if offer.event_channel == port:
                return self._vchan_refs(domid, offer)
        return None

    def recent_card(self, domid: int, devid: int) -> Mapping[str, str] | None:
        """Return the nodes of a card, if they were read recently."""
        found = self._published.get(domid)
        if found is None or time.monotonic() > found.read_at + READ_SECONDS:
            return None
        return found.cards.get(devid)

    def close(self) -> None:
        if self._store is not None:
            with suppress(OSError):
                self._store.close()
        self._store = None

    def _ask(self, question: Callable[[Store], T]) -> T:
        """Ask XenStore, over a new connection if this one was lost meanwhile."""
        if self._store is not None:
            try:
                self._store.events()  # there are none, unless it is lost
            except TransportLost:
                self.close()
        if self._store is None:
            self._store = self._transport.open_store()
        return question(self._store)

    def _read_known(self) -> None:
        try:
            running = self._ask(lambda store: children(store, "/local/domain"))
            self._known = running | self._ask(lambda store: children(store, self._backend))
            self._known_at = time.monotonic()
        except PermissionError:
            self._may_ask = False
        except (TransportLost, OSError):
            self._known = set()
            self.close()

    def _recent(self, domid: int) -> _Published:
        found = self._published.get(domid)
        if found is None or time.monotonic() > found.read_at + READ_SECONDS:
            return self._read_published(domid)
        return found

    def _read_published(self, domid: int) -> _Published:
        """Raises TransportLost."""
        cards: dict[int, dict[str, str]] = {}
        try:
            for devid in self._ask(lambda store: children(store, f"{self._backend}/{domid}")):
                frontend = DevicePath(self._transport.domid, domid, devid).frontend
                with suppress(RemoteProtocolError):
                    cards[devid] = self._ask(partial(read_card_nodes, frontend=frontend))
        except OSError:  # they may not be read
            cards = {}
        found = [
            (path.rpartition("/")[2], value)
            for nodes in cards.values()
            for path, value in nodes.items()
        ]
        published = _Published(
            any(name == RING_REF for name, _ in found),
            frozenset(_numbers(found, {EVENT_CHANNEL, EVT_EVENT_CHANNEL})),
            {devid: nodes for devid, nodes in cards.items() if _octets(nodes) <= _CARD_OCTETS_MAX},
            time.monotonic(),
        )
        self._published[domid] = published
        return published

    def _read_vchans(self, domid: int) -> list[VchanOffer]:
        """Raises TransportLost."""
        offers = []
        for port in PORTS:
            nodes = VchanNodes(domid, self._transport.domid, port)
            read = partial(_values, paths=(nodes.ring_ref, nodes.event_channel))
            with suppress(RemoteProtocolError, PermissionError):
                offers.append(parse_offer(*self._ask(read)))
        return [offer for offer in offers if offer is not None]

    def _vchan_refs(self, domid: int, offer: VchanOffer) -> Set[int]:
        """Return the shared page, and those of the rings that it states."""
        rings: tuple[int, ...] = ()
        with suppress(RemoteProtocolError, OSError):
            pages = self._transport.map_pages(domid, [offer.ring_ref], writable=False)
            with closing(pages):
                page = parse_page(ctypes.string_at(pages.address, PAGE_OCTETS))
            rings = page.left.refs + page.right.refs
        return {offer.ring_ref, *rings}


def _values(store: Store, paths: Sequence[str]) -> Sequence[str | None]:
    return store.read_each(paths)


def _octets(nodes: Mapping[str, str]) -> int:
    return sum(len(path) + len(value) for path, value in nodes.items())


def _numbers(nodes: list[tuple[str, str]], names: set[str]) -> list[int]:
    numbers = []
    for name, value in nodes:
        if name in names:
            with suppress(RemoteProtocolError):
                numbers.append(decimal(value, name, 0))
    return numbers
