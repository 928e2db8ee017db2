"""The running guests, and what each of them has.

In dom0 the agent sees every guest that runs. An audio domain only sees those of its fronts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.guest import STUBDOMAIN, RunningGuest, children, read_guest
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.failures import FAILURES, kind_of
from agent_dom0.streams.front import Front, Guests
from agent_dom0.streams.guest_device import GuestDevice
from agent_dom0.streams.served_guest import ServedGuest
from agent_dom0.streams.stream import Stream
from policy.model import GuestIdentity, Verb
from xensnd.backoff import BackOff
from xensnd.errors import TransportLost, UsageError
from xensnd.sndif.store_fields import Direction
from xensnd.text import quoted
from xensnd.transport.interface import Store

log = logging.getLogger("xensnd-dom0")

_DOMAINS = "domains"
_NAME = "name:"

# The delays before work that failed for a guest, such as making its card, is tried again.
RETRY_FIRST_SECONDS = 2.0
RETRY_LAST_SECONDS = 60.0

T = TypeVar("T")


class Registry(Guests):
    """All running guests. `domid` is that of our own domain. `make_fronts` make the ways in which
    they may have sound."""

    def __init__(
        self,
        domid: int,
        factory: Factory,
        make_fronts: Iterable[Callable[[Guests], Front]],
        policy: PolicyState,
        queue: DecisionQueue,
    ) -> None:
        self.domid = domid
        self._factory = factory
        self._policy = policy
        self._queue = queue
        self.sees_all = True  # until XenStore refuses: then this is an audio domain
        self._guests: dict[int, ServedGuest] = {}  # by their domid
        self._failures: dict[tuple[int, str], object] = {}  # the kinds of the present failures
        self._retry: asyncio.TimerHandle | None = None
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._quarantines: dict[int, asyncio.TimerHandle] = {}  # when each ends, by domid
        self._fronts = [make(self) for make in make_fronts]

    # Called by the agent

    def use_store(self, store: Store) -> None:
        """Use a new connection: set the watches again, and read what has changed."""
        self._store = store
        self._if_allowed(lambda: store.watch("@introduceDomain", _DOMAINS))
        self._if_allowed(lambda: store.watch("@releaseDomain", _DOMAINS))
        for front in self._fronts:
            front.use_store(store)
        self._read_again(store)

    def follow_store(self, store: Store) -> None:
        """Follow what XenStore tells."""
        has_changed, named = False, set()
        for event in store.events():
            if event.token == _DOMAINS:
                has_changed = True
            elif event.token.startswith(_NAME):
                named.add(int(event.token.removeprefix(_NAME)))
            else:
                for front in self._fronts:
                    front.note(event)
        behind = named.union(*(front.behind for front in self._fronts))
        if has_changed or behind:
            self._read(store, behind)
        for front in self._fronts:
            front.follow()

    def poll(self) -> None:
        """Follow an event of the engine. TransportLost is raised only after all were served."""
        lost: TransportLost | None = None
        for guest in self._guests.values():
            guest.audio.poll()
        for device in self._devices():
            try:
                device.poll()
            except TransportLost as error:  # the other streams go on, and can end
                lost = error
        if lost is not None:
            raise lost

    def lose_engine(self, domid: int, why: str, *, is_fault: bool) -> None:
        """Follow the end of a guest's engine: another one takes its streams over. `is_fault`: it
        counts for the guest's quarantine."""
        guest = self._guests.get(domid)
        if guest is None:
            return
        guest.lose_engine(why, is_fault=is_fault)
        if is_fault:
            self._begin_quarantine(guest)
        self._read(self._store, {domid})

    def decide(self) -> None:
        """Decide every open stream again. Each decision goes to the audit trail, which may take a
        while; so what is denied now falls silent in all guests before the first of them."""
        for device in self._devices():
            device.close_denied_gates()
        for guest in self.served():
            guest.follow_policy()
        for device in self._devices():
            device.decide()

    def provision(self) -> None:
        """Make and remove devices, so that each running guest has those that policy gives it."""
        self._provision(self.served())

    def close(self, *, is_renewed: bool) -> None:
        """Stop serving and leave the states as they are: the next agent takes the devices over.
        `is_renewed`: it comes at once."""
        if self._retry is not None:
            self._retry.cancel()
        for timer in self._quarantines.values():
            timer.cancel()
        for device in self._devices():
            if is_renewed:
                device.hand_over()
            else:
                device.close(forget=False)
        for guest in self._guests.values():
            guest.close()

    # Called by its fronts

    def served(self) -> Collection[ServedGuest]:
        return list(self._guests.values())

    def find(self, domid: int) -> ServedGuest | None:
        return self._guests.get(domid)

    def prepare(self, guests: Collection[ServedGuest]) -> None:
        for begin in (ServedGuest.start_engine, ServedGuest.expect_sound):
            for guest in guests:
                if not guest.is_quarantined:
                    with self.contained(guest.guest.domid, "its engine"):
                        begin(guest)

    # Called for people's tools

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "name": guest.guest.name,
                "domid": domid,
                "uuid": guest.guest.uuid,
                **_shown(self._policy.known(guest.guest)),
                "shares_name": guest.guest.shares_name,
                "quarantine_seconds": (
                    round(guest.quarantine.seconds_left, 1) if guest.is_quarantined else None
                ),
                "records": guest.is_heard(Direction.CAPTURE),
                "plays": guest.is_heard(Direction.PLAYBACK),
                "devices": [device.status() for device in guest.devices.values()],
            }
            for domid, guest in sorted(self._guests.items())
        ]

    def recording(self) -> list[str]:
        """The names of the guests that record now."""
        return self._heard(Direction.CAPTURE)

    def quarantined(self) -> list[str]:
        """The names of the guests that are not served, since agents died of them."""
        return sorted(each.guest.name for each in self._guests.values() if each.is_quarantined)

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
            guest.guest.name for guest in self._guests.values() if guest.is_heard(direction)
        )

    def guests(self) -> list[RunningGuest]:
        return [guest.guest for guest in self._guests.values()]

    def serves(self, guest: RunningGuest) -> bool:
        """Whether the guest uses a card of ours."""
        return guest.domid in self._guests and self._guests[guest.domid].is_in_use

    def may_record(self, guest: RunningGuest) -> bool:
        """Whether a stream of the guest may record now, or could if it was opened."""
        decision = self._policy.decide(guest, Direction.CAPTURE)
        return decision.verb is Verb.ALLOW or any(
            stream.is_allowed for stream in self._capture_of(guest)
        )

    def wants_to_record(self, guest: RunningGuest) -> bool:
        return any(stream.is_running for stream in self._capture_of(guest))

    def _capture_of(self, guest: RunningGuest) -> list[Stream]:
        served = self._guests.get(guest.domid)
        return [] if served is None else list(served.streams(Direction.CAPTURE))

    def named(self, name: str) -> list[ServedGuest]:
        """Return all running guests of this name. UsageError: there is none."""
        if found := [guest for guest in self._guests.values() if guest.guest.name == name]:
            return found
        running = ", ".join(sorted(guest.name for guest in self.guests())) or "none"
        raise UsageError(f"no guest named {quoted(name)} runs; running guests: {running}")

    def release(self, name: str, by: str) -> int:
        """Lifts the quarantine of the guests of this name. Returns how many were in one."""
        found = [guest for guest in self.named(name) if guest.is_quarantined]
        for guest in found:
            self._end_quarantine(guest, by)
        return len(found)

    def open_stream_ids(self) -> list[str]:
        """Return the ids of all open streams, as grants for one stream name them."""
        return [each for guest in self._guests.values() for each in guest.open_stream_ids()]

    # Following XenStore

    def _devices(self) -> list[GuestDevice]:
        return [device for guest in self._guests.values() for device in guest.devices.values()]

    def _read_all(self, store: Store) -> None:
        self._read(store, self._guests.keys())

    def _read(self, store: Store, domids: Set[int]) -> None:
        """Read these guests, and those that came. Reading all would hold up who waits for the
        agent, for longer with each guest that runs."""
        running = self._running(store) - {0, self.domid}
        came, gone = running - self._guests.keys(), self._guests.keys() - running
        for domid in gone:
            with self.contained(domid, "its end"):
                self._forget_guest(store, domid)
        read = self._with_stubdomains(domids | came | gone) & running
        for domid in sorted(read):
            with self.contained(domid, "its identity"):
                self._follow_guest(store, domid)
        self._find_shared_names()
        guests = [self._guests[domid] for domid in sorted(read & self._guests.keys())]
        self._provision(guests)
        for front in self._fronts:
            front.read(guests)

    def _with_stubdomains(self, domids: Set[int]) -> Set[int]:
        """Return these, and the stubdomains that may be one of theirs."""
        return domids | {
            domid
            for domid, each in self._guests.items()
            if each.guest.target in domids or each.guest.name.endswith(STUBDOMAIN)
        }

    def _provision(self, guests: Iterable[ServedGuest]) -> None:
        for front in self._fronts:
            for guest in guests:
                front.provision(guest)

    def _follow_guest(self, store: Store, domid: int) -> None:
        guest = self._read_guest(store, domid)
        known = self._guests.get(domid)
        if guest is not None and known is not None and guest.uuid != known.guest.uuid:
            self._forget_guest(store, domid)  # the end of the earlier guest was not noticed
            known = None
        self._watch_name(store, domid)
        if guest is None:
            return
        if guest.name.endswith(STUBDOMAIN):  # the toolstack says later whose it is
            self._if_allowed(lambda: store.watch(_target_path(domid), f"{_NAME}{domid}"))
        if known is None:
            self._guests[domid] = self._factory.guest(guest)
            self._begin_quarantine(self._guests[domid])
        elif guest != known.guest:
            known.rename(guest)
            self._queue.reconsider(Reason.GUESTS)

    def _begin_quarantine(self, guest: ServedGuest) -> None:
        """If it was served when other agents died: nothing of it is touched for a time."""
        guest.tell_quarantine()
        if guest.is_quarantined:
            seconds = guest.quarantine.seconds_left
            loop = asyncio.get_running_loop()
            timer = loop.call_later(seconds, self._end_quarantine, guest)
            self._quarantines[guest.guest.domid] = timer

    def _end_quarantine(self, guest: ServedGuest, by: str | None = None) -> None:
        self._quarantines.pop(guest.guest.domid).cancel()
        guest.release(by)
        self._factory.run(lambda: self._read_all(self._store))

    def _find_shared_names(self) -> None:
        # A stubdomain has the name of its target, and is no other guest.
        counts = Counter(guest.name for guest in self.guests() if guest.target not in self._guests)
        for guest in self._guests.values():
            shares = counts[guest.guest.name] > 1
            if shares is not guest.guest.shares_name:
                guest.share_name(shares=shares)
                self._queue.reconsider(Reason.GUESTS)

    @contextmanager
    def contained(self, domid: int, what: str) -> Iterator[None]:
        """Audit a failure for one guest once, and try again later. Other guests are served."""
        key = domid, what
        try:
            yield
        except FAILURES as error:
            if self._failures.get(key) != kind_of(error):
                self._failures[key] = kind_of(error)
                known = self._guests.get(domid)
                name = known.guest.name if known is not None else f"dom{domid}"
                text = f"{what}: {error}; it is tried again"
                kind, priority = EventKind.DEVICE_FAILED, Priority.WARNING
                self._factory.trail.append(guest_event(kind, name, domid, text, priority))
            if self._retry is None:
                loop = asyncio.get_running_loop()
                self._retry = loop.call_later(self._back_off.next_seconds(), self._try_again)
        else:
            self._failures.pop(key, None)
            if not self._failures:
                self._back_off.reset()

    def _try_again(self) -> None:
        self._retry = None
        self._factory.run(lambda: self._read_again(self._store))

    def _read_again(self, store: Store) -> None:
        self._read_all(store)
        self._remove_left_devices(store)

    def _read_guest(self, store: Store, domid: int) -> RunningGuest | None:
        if self.sees_all:
            return read_guest(store, domid)
        found = (front.identify(domid) for front in self._fronts if domid in front.known_guests())
        unnamed = RunningGuest(domid, f"dom{domid}")
        return next((guest for guest in found if guest is not None), unnamed)

    def _running(self, store: Store) -> set[int]:
        everybody = self._if_allowed(lambda: children(store, "/local/domain"))
        if everybody is not None:
            return everybody
        return {domid for front in self._fronts for domid in front.known_guests()}

    def _watch_name(self, store: Store, domid: int) -> None:
        self._if_allowed(lambda: store.watch(_name_path(domid), f"{_NAME}{domid}"))

    def _forget_guest(self, store: Store, domid: int) -> None:
        for path in (_name_path(domid), _target_path(domid)):
            with suppress(KeyError):
                self._if_allowed(partial(store.unwatch, path, f"{_NAME}{domid}"))
        guest = self._guests.pop(domid)
        for front in self._fronts:
            front.forget(guest)
        guest.close(forget=True)
        if domid in self._quarantines:
            self._quarantines.pop(domid).cancel()
        self._failures = {key: text for key, text in self._failures.items() if key[0] != domid}
        for front in self._fronts:
            front.remove(domid)

    def _remove_left_devices(self, store: Store) -> None:
        """Remove our devices of guests that ended while no agent ran, or XenStore was lost."""
        running = self._running(store)
        left = {front: front.left_behind(running) for front in self._fronts}
        there = running.union(*left.values())
        self._failures = {key: text for key, text in self._failures.items() if key[0] in there}
        for front, domids in left.items():
            for domid in domids:
                with self.contained(domid, "its end"):
                    front.remove(domid)

    def _if_allowed(self, work: Callable[[], T]) -> T | None:
        """Do work that only dom0 may do. None: this is an audio domain."""
        if not self.sees_all:
            return None
        try:
            return work()
        except PermissionError:
            self.sees_all = False
            log.info(
                "domain %d is an audio domain: it serves the cards that the toolstack makes for it "
                "and the vchans that are registered",
                self.domid,
            )
            return None


def _name_path(domid: int) -> str:
    return f"/local/domain/{domid}/name"


def _target_path(domid: int) -> str:
    return f"/local/domain/{domid}/target"


def _shown(known: GuestIdentity) -> dict[str, Any]:
    """What policy may know of a guest. None, or an empty list: not known, or it has none."""
    return {
        "label": known.label or "",
        "tags": sorted(known.tags or ()),
        "class": known.qube_class or None,
        "template": known.template or None,
        "dispvm_of": known.dispvm_of or None,
    }
