"""Which guests run and which cards they have: XenStore, followed.

In dom0 every running guest is seen, and given the card that policy says. An audio domain sees only
the guests whose cards the toolstack put into its own backend directory, and gives none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.guest_volume import KnobRecord, Knobs, Shared
from agent_dom0.audio.mixer import Mixer
from agent_dom0.cards.device import Device, DevicePath
from agent_dom0.cards.stream import Stream
from agent_dom0.cards.toolstack import DEVID, is_ours, make_device, remove_device
from agent_dom0.events import Event, EventKind, guest_event
from agent_dom0.guest import Guest, children, read_guest, read_guest_of_backend
from agent_dom0.services import Services
from policy.model import Verb
from xensnd.errors import TransportLost, UsageError
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Store

log = logging.getLogger("xensnd-dom0")

_DOMAINS = "domains"
_BACKEND = "backend"
_NAME = "name:"

T = TypeVar("T")


class Roster:
    def __init__(self, services: Services, mixer: Mixer, record: Callable[[Event], bool]) -> None:
        self._services = services
        self._mixer = mixer
        self._record = record
        self.domid = services.transport.domid
        self._root = f"/local/domain/{self.domid}/backend/vsnd"
        self._sees_all = True  # until XenStore says that it is not for us
        self._guests: dict[int, Guest] = {}
        self._clients: dict[int, GuestClient] = {}
        self._devices: dict[DevicePath, Device] = {}
        # By the toolstack (`xl vsnd-detach`), from guests that run on: they get no other before
        # policy gives them one again.
        self._taken_away: set[int] = set()

    # What the agent asks of it

    def use_store(self, store: Store) -> None:
        """A new connection: watch again, and look what has happened meanwhile."""
        self._if_allowed(lambda: store.watch("@introduceDomain", _DOMAINS))
        self._if_allowed(lambda: store.watch("@releaseDomain", _DOMAINS))
        store.watch(self._root, _BACKEND)
        for domid in self._guests:
            self._watch_name(store, domid)
        for device in self._devices.values():
            device.use_store(store)
        self._see(store)

    def follow_store(self, store: Store) -> None:
        tokens = {event.token for event in store.events()}
        if tokens & {_DOMAINS, _BACKEND} or any(token.startswith(_NAME) for token in tokens):
            self._see(store)
        stepped = [device for path, device in self._devices.items() if path.backend in tokens]
        for device in stepped:
            device.step()
        if stepped:
            self.provision(store)  # a card that policy took away may be free to go now

    def look(self) -> None:
        """Something happened in the engine. TransportLost only when all were served."""
        lost: TransportLost | None = None
        for client in self._clients.values():
            client.look()
        for device in list(self._devices.values()):
            try:
                device.look()
            except TransportLost as error:  # what sounds goes on, and can end
                lost = error
        if lost is not None:
            raise lost

    def follow_policy(self) -> None:
        """Policy, or the audit trail, has changed: every open stream is decided anew."""
        for device in list(self._devices.values()):
            device.follow_policy()

    def provision(self, store: Store) -> None:
        """Each running guest has the card that policy gives it, and no other of ours."""
        if not self._sees_all:
            return
        for domid, guest in self._guests.items():
            path = DevicePath(self.domid, domid, DEVID)
            device = self._devices.get(path)
            is_there = DEVID in children(store, f"{self._root}/{domid}")
            gives = self._services.permission.gives_device(guest)
            if not gives:
                self._taken_away.discard(domid)
            if gives and not is_there and device is not None:
                self._taken_away.add(domid)
            elif gives and not is_there and domid not in self._taken_away:
                # xl may be at the same directory, and takes nodes away within our transaction:
                # what it does next brings us here again.
                with suppress(KeyError):
                    make_device(store, path)
                    self._say(EventKind.DEVICE_MADE, guest, f"device {DEVID} made")
            elif device is not None and not gives and not device.is_in_use and is_ours(store, path):
                self._forget_device(path)
                remove_device(store, path)
                self._say(EventKind.DEVICE_REMOVED, guest, f"device {DEVID} removed")

    # What people see of it, and do with it

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "name": guest.name,
                "domid": domid,
                "uuid": guest.uuid,
                "label": guest.label,
                "records": self._is_heard(domid, Direction.CAPTURE),
                "plays": self._is_heard(domid, Direction.PLAYBACK),
                "devices": [self._devices[path].status() for path in self._paths_of(domid)],
            }
            for domid, guest in sorted(self._guests.items())
        ]

    def recording(self) -> list[str]:
        """The names of the guests that record now."""
        return self._heard(Direction.CAPTURE)

    def summary(self) -> str:
        """One line: `3 guests; work, personal play; work records`."""
        parts = ["1 guest" if len(self._guests) == 1 else f"{len(self._guests)} guests"]
        for direction, verb in ((Direction.PLAYBACK, "play"), (Direction.CAPTURE, "record")):
            names = self._heard(direction)
            if names:
                parts.append(f"{', '.join(names)} {verb}{'s' if len(names) == 1 else ''}")
        return "; ".join(parts)

    def _heard(self, direction: Direction) -> list[str]:
        return sorted(
            guest.name for domid, guest in self._guests.items() if self._is_heard(domid, direction)
        )

    def guests(self) -> list[Guest]:
        return list(self._guests.values())

    def serves(self, guest: Guest) -> bool:
        """Whether it uses a card of ours."""
        return self._is_in_use(guest.domid)

    def may_record(self, guest: Guest) -> bool:
        """Now: a stream of it may, or would if it opened one."""
        decision = self._services.permission.decide(guest, Direction.CAPTURE)
        return decision.verb is Verb.ALLOW or any(
            stream.is_allowed for stream in self._capture_of(guest)
        )

    def wants_to_record(self, guest: Guest) -> bool:
        return any(stream.is_running for stream in self._capture_of(guest))

    def _capture_of(self, guest: Guest) -> Iterator[Stream]:
        streams = self._streams_of(guest.domid)
        return (stream for stream in streams if stream.direction is Direction.CAPTURE)

    def knobs(self, name: str, direction: Direction) -> Knobs:
        """UsageError: no such guest runs."""
        return self._client(self._named(name)).shared.knobs[direction]

    def turn(self, name: str, direction: Direction) -> tuple[int, int]:
        """The knobs were turned: the guest's domid, and how many streams that changed."""
        guest = self._named(name)
        domid = guest.domid
        self._knob_record(guest).save(self._client(guest).shared.knobs)
        return domid, sum(
            stream.turn() for stream in self._streams_of(domid) if stream.direction is direction
        )

    def open_streams(self) -> list[str]:
        """What grants for one stream call them."""
        return [
            stream.id
            for domid in self._guests
            for stream in self._streams_of(domid)
            if stream.is_open
        ]

    def _streams_of(self, domid: int) -> Iterator[Stream]:
        for path in self._paths_of(domid):
            yield from self._devices[path].streams

    def _is_heard(self, domid: int, direction: Direction) -> bool:
        return any(
            stream.is_heard for stream in self._streams_of(domid) if stream.direction is direction
        )

    def _named(self, name: str) -> Guest:
        for guest in self._guests.values():
            if guest.name == name:
                return guest
        running = ", ".join(sorted(guest.name for guest in self._guests.values())) or "none"
        raise UsageError(f"no guest named {name!r} runs; running are {running}")

    def close(self) -> None:
        """States stay as they are: an agent that starts again takes the devices over."""
        for device in self._devices.values():
            device.close(forget=False)
        for client in self._clients.values():
            client.close()

    # Following XenStore

    def _see(self, store: Store) -> None:
        self._see_guests(store)
        self.provision(store)
        self._see_devices(store)

    def _see_guests(self, store: Store) -> None:
        running = self._running(store) - {0, self.domid}
        for domid in self._guests.keys() - running:
            self._forget_guest(store, domid)
        for domid in running:
            guest = self._read_guest(store, domid)
            known = self._guests.get(domid)
            if known is None:
                self._watch_name(store, domid)
            if guest is None or guest == known or self._is_in_use(domid):
                continue
            # New; or renamed, as a guest that is migrated: its card is looked at anew.
            for path in self._paths_of(domid):
                self._forget_device(path)
            self._clients.pop(domid, None)
            self._guests[domid] = guest

    def _read_guest(self, store: Store, domid: int) -> Guest | None:
        if self._sees_all:
            return read_guest(store, domid)
        return read_guest_of_backend(store, f"{self._root}/{domid}", domid)

    def _paths_of(self, domid: int) -> list[DevicePath]:
        return [path for path in self._devices if path.guest_domid == domid]

    def _is_in_use(self, domid: int) -> bool:
        return any(self._devices[path].is_in_use for path in self._paths_of(domid))

    def _running(self, store: Store) -> set[int]:
        everybody = self._if_allowed(lambda: children(store, "/local/domain"))
        return children(store, self._root) if everybody is None else everybody

    def _watch_name(self, store: Store, domid: int) -> None:
        self._if_allowed(lambda: store.watch(f"/local/domain/{domid}/name", f"{_NAME}{domid}"))

    def _forget_guest(self, store: Store, domid: int) -> None:
        self._if_allowed(lambda: store.unwatch(f"/local/domain/{domid}/name", f"{_NAME}{domid}"))
        for path in self._paths_of(domid):
            ours = is_ours(store, path)
            self._forget_device(path)
            if ours:
                store.remove(f"{self._root}/{domid}")
        client = self._clients.pop(domid, None)
        if client is not None:
            client.close()
        self._knob_record(self._guests.pop(domid)).remove()
        self._taken_away.discard(domid)

    def _see_devices(self, store: Store) -> None:
        """Follows every device below our backend's directory, whoever made it."""
        there = {
            DevicePath(self.domid, domid, devid)
            for domid in self._guests
            for devid in children(store, f"{self._root}/{domid}")
        }
        for path in self._devices.keys() - there:
            self._forget_device(path)
        for path in there - self._devices.keys():
            guest = self._guests[path.guest_domid]
            self._devices[path] = Device(self._services, store, path, guest, self._client(guest))
        for path in there:
            self._devices[path].step()

    def _client(self, guest: Guest) -> GuestClient:
        if guest.domid not in self._clients:
            shared = Shared(self._knob_record(guest).load())
            self._clients[guest.domid] = GuestClient(
                self._services.engine, self._mixer, guest, self._record, shared
            )
        return self._clients[guest.domid]

    def _knob_record(self, guest: Guest) -> KnobRecord:
        directory = self._services.transport.runtime_directory / "knobs"
        return KnobRecord(directory / str(guest.domid), guest.uuid)

    def _forget_device(self, path: DevicePath) -> None:
        self._devices.pop(path).close(forget=True)

    def _if_allowed(self, work: Callable[[], T]) -> T | None:
        """What only dom0 may do. An audio domain goes by its backend directory alone."""
        if not self._sees_all:
            return None
        try:
            return work()
        except PermissionError:
            self._sees_all = False
            log.info("domain %d serves the guests whose cards the toolstack gives it", self.domid)
            return None

    def _say(self, kind: EventKind, guest: Guest, text: str) -> None:
        self._record(guest_event(kind, guest.name, guest.domid, text))
