"""Follows in XenStore which cards guests have.

In dom0 the agent gives a guest a card if policy says so. In an audio domain it only sees the cards
that the toolstack has put into its own backend directory, and makes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence, Set
from contextlib import suppress

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.cards.device import Device, DevicePath
from agent_dom0.cards.factory import CardFactory
from agent_dom0.cards.toolstack import DEVID, is_ours, make_device, remove_device
from agent_dom0.events import EventKind
from agent_dom0.guest import RunningGuest, children, read_guest_of_backend
from agent_dom0.streams.front import Front, Guests
from agent_dom0.streams.served_guest import ServedGuest
from xensnd.sndif.store_fields import CAPTURE_IN_PLACE, VERSIONS
from xensnd.transport.interface import Store, WatchEvent

_BACKEND = "backend"

# What a device reads or writes of its own directory. A change of other nodes there may be a device
# that comes or goes, and its guest is read again for that.
_STEPPED_BY = ("state", "online", VERSIONS, CAPTURE_IN_PLACE)


class CardFront(Front):
    """The cards of all guests."""

    def __init__(self, guests: Guests, policy: PolicyState, factory: CardFactory) -> None:
        self._guests = guests
        self._policy = policy
        self._factory = factory
        self._root = f"/local/domain/{guests.domid}/backend/vsnd"
        self._cards: dict[str, Device] = {}  # by the backend's path
        # Guests whose card the toolstack has detached (`xl vsnd-detach`). They get no other card
        # until policy gives them one anew.
        self._taken_away: set[int] = set()
        # Of what was noted: how often each frontend's state was written, and the devices whose
        # nodes on our side were, by the backend's path.
        self._changed: Counter[str] = Counter()
        self._to_step: dict[str, None] = {}
        self._behind: set[int] = set()

    def use_store(self, store: Store) -> None:
        self._store = store
        store.watch(self._root, _BACKEND)
        for card in self._cards.values():
            card.use_store(store)

    def known_guests(self) -> set[int]:
        return children(self._store, self._root)

    def identify(self, domid: int) -> RunningGuest | None:
        return read_guest_of_backend(self._store, f"{self._root}/{domid}", domid)

    # What XenStore tells

    def note(self, event: WatchEvent) -> None:
        directory, _, node = event.path.rpartition("/")
        if event.token == _BACKEND and node in _STEPPED_BY and directory in self._cards:
            self._to_step[directory] = None
        elif event.token == _BACKEND:
            self._behind |= self._guests_at(event.path)
        elif event.token.startswith(f"{self._root}/"):
            self._changed[event.token] += event.times

    def _guests_at(self, path: str) -> set[int]:
        """Return whose devices are at this path of our directory."""
        name = path.removeprefix(f"{self._root}/").partition("/")[0]
        if name.isascii() and name.isdigit():
            return {int(name)}
        return {guest.guest.domid for guest in self._guests.served()}

    @property
    def behind(self) -> Set[int]:
        return self._behind

    def follow(self) -> None:
        to_step, self._to_step = self._to_step.keys() & self._cards.keys(), {}
        changed, self._changed = self._changed, Counter()
        self._behind = set()
        for path in to_step:
            self._cards[path].step()
        for path in changed.keys() & self._cards.keys():
            self._cards[path].follow(changed[path])
        followed = [card for path, card in self._cards.items() if path in to_step | changed.keys()]
        for domid in {card.path.guest_domid for card in followed}:
            # A card that policy no longer gives may be removable now.
            guest = self._guests.find(domid)
            if guest is not None:
                self.provision(guest)

    def read(self, guests: Sequence[ServedGuest]) -> None:
        """Follow their devices below our backend's directory, whoever made them."""
        left: list[ServedGuest] = []
        for guest in guests:
            with self._guests.contained(guest.guest.domid, "its devices"):
                is_new = self._read_devices_of(guest)
                if is_new and self._factory.has_left_open(guest):
                    left.append(guest)
        self._guests.prepare(left)
        for guest in guests:
            for card in self._cards_of(guest.guest.domid):
                card.step()

    def _read_devices_of(self, guest: ServedGuest) -> bool:
        """Return whether there are new ones."""
        domid = guest.guest.domid
        known = {card.path.devid for card in self._cards_of(domid)}
        there = children(self._store, f"{self._root}/{domid}")
        for devid in known - there:
            self._forget_card(guest, DevicePath(self._guests.domid, domid, devid))
        for devid in sorted(there - known):
            path = DevicePath(self._guests.domid, domid, devid)
            card = self._factory.device(self._store, path, guest)
            self._cards[path.backend] = guest.devices[str(devid)] = card
        return bool(there - known)

    # The toolstack's part

    def provision(self, guest: ServedGuest) -> None:
        if self._guests.sees_all and not guest.is_quarantined:
            with self._guests.contained(guest.guest.domid, "its card"):
                self._make_or_remove(guest)

    def _make_or_remove(self, guest: ServedGuest) -> None:
        domid = guest.guest.domid
        path = DevicePath(self._guests.domid, domid, DEVID)
        card = self._cards.get(path.backend)
        is_there = DEVID in children(self._store, f"{self._root}/{domid}")
        # A stubdomain has no driver for a card; its target may have one.
        gives = guest.guest.target is None and self._policy.gives_device(guest.guest)
        if not gives:
            self._taken_away.discard(domid)
        if gives and not is_there and card is not None:
            self._taken_away.add(domid)
        elif gives and not is_there and domid not in self._taken_away:
            # xl may be removing nodes there at the same time. Its next change calls this again.
            with suppress(KeyError):
                make_device(self._store, path)
                guest.audit(EventKind.DEVICE_MADE, f"device {DEVID} made")
        elif card is not None and not gives and not card.is_in_use and is_ours(self._store, path):
            self._forget_card(guest, path)
            remove_device(self._store, path)
            guest.audit(EventKind.DEVICE_REMOVED, f"device {DEVID} removed")

    def forget(self, guest: ServedGuest) -> None:
        for card in self._cards_of(guest.guest.domid):
            self._forget_card(guest, card.path)
        self._taken_away.discard(guest.guest.domid)

    def left_behind(self, running: Collection[int]) -> set[int]:
        with_cards = children(self._store, self._root)
        return with_cards.union(self._factory.saved_paths()).difference(running)

    def remove(self, domid: int) -> None:
        if is_ours(self._store, DevicePath(self._guests.domid, domid, DEVID)):
            self._store.remove(f"{self._root}/{domid}")
        # Also of a card that closed while no agent was there.
        for path in self._factory.saved_paths().get(domid, []):
            path.unlink(missing_ok=True)

    def _cards_of(self, domid: int) -> list[Device]:
        return [card for card in self._cards.values() if card.path.guest_domid == domid]

    def _forget_card(self, guest: ServedGuest, path: DevicePath) -> None:
        del guest.devices[str(path.devid)]
        self._cards.pop(path.backend).close(forget=True)
