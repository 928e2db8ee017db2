"""Follows in XenStore which guests offer sound over vchan.

A guest offers its vchans to the domain in which the agent runs, and nothing of ours is written for
it. An audio domain may not see which guests run, so there only those are served that were
registered.

The toolstack's name is a guest's identity wherever it can be read: policy is written for that name,
and the program that registers a guest only repeats what it was told. A registration under another
name counts for nothing. Where the toolstack's name cannot be read, as in an audio domain, the name
that was registered is all that is known, and whoever may register may also answer for the guest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence, Set

from agent_dom0.guest import RunningGuest, read_name
from agent_dom0.streams.front import Front, Guests
from agent_dom0.streams.served_guest import ServedGuest
from agent_dom0.vchan.device import NAME, VchanDevice
from agent_dom0.vchan.factory import VchanFactory
from agent_dom0.vchan.registrations import Registrations
from xensnd.transport.interface import Store, WatchEvent


class VchanFront(Front):
    """The vchans of all guests that are found, or only of those that were registered."""

    def __init__(
        self,
        guests: Guests,
        factory: VchanFactory,
        registrations: Registrations,
        *,
        serves_all: bool,
    ) -> None:
        self._guests = guests
        self._factory = factory
        self._registrations = registrations
        self._serves_all = serves_all
        self._devices: dict[int, VchanDevice] = {}  # by the guest's domid
        self._changed: Counter[str] = Counter()  # how often each guest's nodes were, by the token

    def use_store(self, store: Store) -> None:
        self._store = store
        for device in self._devices.values():
            device.use_store(store)

    def known_guests(self) -> set[int]:
        return self._registrations.domids()

    def identify(self, domid: int) -> RunningGuest | None:
        name = read_name(self._store, domid) or self._registrations.name(domid)
        return None if name is None else RunningGuest(domid, name)

    @property
    def behind(self) -> Set[int]:
        return self._registrations.changed

    def note(self, event: WatchEvent) -> None:
        if event.token.startswith(f"{NAME}:"):
            self._changed[event.token] += event.times

    def follow(self) -> None:
        changed, self._changed = self._changed, Counter()
        self._registrations.changed.clear()
        for device in list(self._devices.values()):
            if device.token in changed:
                device.follow(changed[device.token])

    def read(self, guests: Sequence[ServedGuest]) -> None:
        left: list[ServedGuest] = []
        for guest in guests:
            domid = guest.guest.domid
            if not self._serves_all and not self._registrations.includes(guest.guest):
                self.forget(guest)
            elif domid not in self._devices:
                self._devices[domid] = self._factory.device(self._store, guest)
                if self._factory.saved_path(domid).exists():
                    left.append(guest)
        self._guests.prepare(left)
        for guest in guests:
            if device := self._devices.get(guest.guest.domid):
                device.step()

    def provision(self, guest: ServedGuest) -> None:
        """The guest makes its vchans itself."""

    def forget(self, guest: ServedGuest) -> None:
        device = self._devices.pop(guest.guest.domid, None)
        if device is not None:
            device.close(forget=True)

    def left_behind(self, running: Collection[int]) -> set[int]:
        directory = self._factory.saved_directory
        names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
        return {int(name) for name in names if name.isdigit()}.difference(running)

    def remove(self, domid: int) -> None:
        self._factory.saved_path(domid).unlink(missing_ok=True)
