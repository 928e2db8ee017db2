"""Follows in XenStore which guests offer sound over vchan.

A guest offers its vchans to the domain in which the agent runs, and nothing of ours is written for
it. In an audio domain, which may not see all guests, they cannot be found in this way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from agent_dom0.guest import RunningGuest
from agent_dom0.streams.front import Front, Guests
from agent_dom0.streams.served_guest import ServedGuest
from agent_dom0.vchan.device import NAME, VchanDevice
from agent_dom0.vchan.factory import VchanFactory
from xensnd.transport.interface import Store, WatchEvent


class VchanFront(Front):
    """The vchans of all guests."""

    is_behind = False  # each guest that runs has a device

    def __init__(self, guests: Guests, factory: VchanFactory) -> None:
        self._guests = guests
        self._factory = factory
        self._devices: dict[int, VchanDevice] = {}  # by the guest's domid
        self._changed: Counter[str] = Counter()  # how often each guest's nodes were, by the token

    def use_store(self, store: Store) -> None:
        self._store = store
        for device in self._devices.values():
            device.use_store(store)

    def known_guests(self) -> set[int]:
        return set()

    def identify(self, domid: int) -> RunningGuest | None:  # noqa: ARG002
        return None

    def note(self, event: WatchEvent) -> None:
        if event.token.startswith(f"{NAME}:"):
            self._changed[event.token] += event.times

    def follow(self) -> None:
        changed, self._changed = self._changed, Counter()
        for device in list(self._devices.values()):
            if device.token in changed:
                device.follow(changed[device.token])

    def read(self) -> None:
        for guest in self._guests.served():
            domid = guest.guest.domid
            if domid not in self._devices:
                self._devices[domid] = self._factory.device(self._store, guest)
        for device in list(self._devices.values()):
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
