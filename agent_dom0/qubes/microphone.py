"""Keeps Qubes' device dom0:mic and policy equal, in both directions. See docs/policy.md.

QubesDB has three keys for each qube. If the first two differ, a person has attached or detached the
microphone since the last check; if they are equal, only policy may have changed. So no state need
be kept while no agent runs. What a person has done becomes a grant; it is undone if policy forbids
it. Nobody records while the state in Qubes is not known. Qubes that use no card of ours belong to
pacat and are not touched.
"""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import Event, EventKind, Priority, guest_event
from agent_dom0.guest import RunningGuest
from agent_dom0.qubes.qubesdb import QubesDb
from agent_dom0.registry import Registry
from policy.model import Direction, Verb
from xensnd.backoff import BackOff
from xensnd.errors import XensndError

log = logging.getLogger("xensnd-dom0")

CONFIG = "/audio-input-config/"  # attached or not; Qubes and the agent write it
ACTUAL = "/audio-input/"  # the state that the agent has set
REQUEST = "/audio-input-request/"  # whether the guest records, or would if it were allowed

# A microphone stays attached until the qube ends, but a grant must have an end.
ATTACHED_SECONDS = 31 * 86400
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# A stream that opens sends many requests at once.
SETTLE_SECONDS = 0.01

_QUBE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,30}")
_ATTACHED, _DETACHED = "1", "0"

_Keys = dict[str, str | None]


class QubesState:
    """The state of each guest's microphone in Qubes, as far as it is known.

    `is_qubes`: if false, there is no such state, and policy alone decides.
    """

    def __init__(self, *, is_qubes: bool) -> None:
        self._is_qubes = is_qubes
        self.is_lost = True  # QubesDB
        self.keys: dict[RunningGuest, _Keys] = {}  # as QubesDB has them
        self.detached: set[str] = set()  # qubes, by a person, while no rule says so
        self.ended: set[str] = set()  # qubes whose grants are to end

    def why_not(self, guest: RunningGuest) -> str | None:
        """Return why it may not record now, whatever policy says; None: policy decides."""
        if not self._is_qubes or not _QUBE.fullmatch(guest.name):
            return None
        if self.is_lost:
            return "QubesDB does not answer"
        if guest not in self.keys or guest.name in self.ended:
            return "the state of its microphone in Qubes is not known yet"
        if guest.name in self.detached:
            return "its microphone was detached in Qubes"
        return None


class Microphones:
    """`path` is the socket of QubesDB; `state` follows its keys."""

    def __init__(
        self,
        path: Path,
        state: QubesState,
        registry: Registry,
        policy: PolicyState,
        trail: AuditTrail,
        queue: DecisionQueue,
    ) -> None:
        self._path = path
        self._state = state
        self._registry = registry
        self._policy = policy
        self._trail = trail
        self._queue = queue
        self._loss_is_audited = False
        self._were_there: set[RunningGuest] | None = None  # before us; None: not known yet
        self._stale: set[str] = set()  # qubes whose keys are to be read again
        self._may_retry = False  # what could not be written down
        self._writing: dict[str, asyncio.Task[None]] = {}  # of which qube
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Check again soon: a stream, the running guests, or QubesDB may have changed."""
        self._woken.set()

    def follow_policy(self) -> None:
        self._may_retry = True
        self._woken.set()

    async def run(self) -> None:
        """Run until it is cancelled."""
        back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        while True:
            try:
                db = await QubesDb.connect(self._path, self.wake)
                back_off.reset()
                try:
                    await self._serve(db)
                finally:
                    db.close()
            except OSError as error:
                self._note_lost(error)
            await back_off.wait()

    async def _serve(self, db: QubesDb) -> None:
        await db.watch(CONFIG)
        self._stale = {guest.name for guest in self._state.keys}
        while True:
            self._woken.clear()
            self._take_changes(db)
            self._forget_ended()
            for guest in self._registry.guests():
                if guest in self._state.keys or self._is_ours(guest):
                    await self._agree(db, guest)
            self._may_retry = False
            if self._state.is_lost:
                self._note_found()
            await self._woken.wait()
            await asyncio.sleep(SETTLE_SECONDS)

    def _is_ours(self, guest: RunningGuest) -> bool:
        return _QUBE.fullmatch(guest.name) is not None and self._registry.serves(guest)

    def _take_changes(self, db: QubesDb) -> None:
        self._stale |= {path.removeprefix(CONFIG) for path in db.changes()}

    def _note_lost(self, error: OSError) -> None:
        if not self._loss_is_audited:
            text = f"QubesDB {self._path}: {error.strerror or error or 'does not answer'}"
            event = Event(EventKind.QUBESDB_LOST, f"{text}; capture is denied", Priority.ERROR)
            self._trail.append(event)
        self._state.is_lost = self._loss_is_audited = True
        self._queue.reconsider(Reason.QUBES)

    def _note_found(self) -> None:
        if self._loss_is_audited:
            self._trail.append(Event(EventKind.QUBESDB_FOUND, "QubesDB is back", Priority.NOTICE))
        self._state.is_lost = self._loss_is_audited = False
        self._queue.reconsider(Reason.QUBES)

    def _forget_ended(self) -> None:
        """Forget the qubes that have ended: no microphone is attached when they start again."""
        running = set(self._registry.guests())
        if self._were_there is None:
            self._were_there = running
        for guest in self._state.keys.keys() - running:
            del self._state.keys[guest]
            self._state.detached.discard(guest.name)
            self._state.ended.add(guest.name)
        self._end_grants()

    def _end_grants(self) -> None:
        self._state.ended = {
            name for name in self._state.ended if not self._policy.end_grants(name)
        }

    # Agreement

    async def _agree(self, db: QubesDb, guest: RunningGuest) -> None:
        name, is_known = guest.name, guest in self._state.keys
        if name in self._writing:
            return  # the last change is written first
        if not is_known or name in self._stale:
            self._stale.discard(name)
            keys = {prefix: await db.read(prefix + name) for prefix in (CONFIG, ACTUAL, REQUEST)}
            if not is_known and keys[CONFIG] is None and guest in (self._were_there or ()):
                self._state.ended.add(name)  # it has started while there was no agent
                self._end_grants()
            if not is_known:  # it records only if its state can be written as well
                await self._put(db, guest, keys, REQUEST, self._registry.wants_to_record(guest))
            self._state.keys[guest] = keys
            self._follow_person(guest, keys)
            if not is_known:
                self._queue.reconsider(Reason.QUBES)
        elif name in self._state.detached and self._may_retry:
            self._write_down(guest, Verb.DENY)
        await asyncio.sleep(0)  # the new state is decided by then
        self._take_changes(db)
        if name not in self._stale and name not in self._writing:
            await self._publish(db, guest)

    def _follow_person(self, guest: RunningGuest, keys: _Keys) -> None:
        """Apply what a person has done in Qubes since the last check, if anything."""
        config = keys[CONFIG]
        if config is None or config == keys[ACTUAL]:
            return
        if config == _ATTACHED:
            if guest.name in self._state.detached:
                self._state.detached.remove(guest.name)
                self._queue.reconsider(Reason.QUBES)
            if self._policy.verb(guest, Direction.CAPTURE) is not Verb.ALLOW:
                self._audit(EventKind.MICROPHONE_ATTACHED, guest, "attached")
                self._write_down(guest, Verb.ALLOW)
        elif self._policy.verb(guest, Direction.CAPTURE) is not Verb.DENY:
            self._state.detached.add(guest.name)
            self._queue.reconsider(Reason.QUBES)  # silent at once, even if nothing can be written
            self._audit(EventKind.MICROPHONE_DETACHED, guest, "detached")
            self._write_down(guest, Verb.DENY)

    def _write_down(self, guest: RunningGuest, verb: Verb) -> None:
        """Write a grant in a task: another editor may hold the lock; other qubes do not wait."""
        if guest.name not in self._writing:
            self._writing[guest.name] = asyncio.create_task(self._write(guest, verb))

    async def _write(self, guest: RunningGuest, verb: Verb) -> None:
        try:
            await asyncio.to_thread(
                self._policy.write_grant,
                guest.name,
                Direction.CAPTURE,
                ATTACHED_SECONDS,
                verb,
            )
        except XensndError as error:
            log.warning("dom0:mic of %s: no grant was written: %s", guest.name, error)
        else:
            self._state.detached.discard(guest.name)
            self._policy.load()
        finally:
            del self._writing[guest.name]
            self.wake()

    async def _publish(self, db: QubesDb, guest: RunningGuest) -> None:
        """Write the keys, CONFIG first. If the agent dies before it writes ACTUAL, it looks as if a
        person had made the same change, which is harmless. CONFIG is read again before it is
        written, because a person may be changing it now."""
        keys = self._state.keys[guest]
        attached = self._registry.may_record(guest)
        is_new = keys[CONFIG] != (_ATTACHED if attached else _DETACHED)
        if is_new and keys[CONFIG] != await db.read(CONFIG + guest.name):
            self._stale.add(guest.name)
            self.wake()
            return
        wants = self._registry.wants_to_record(guest)
        for prefix, holds in ((CONFIG, attached), (ACTUAL, attached), (REQUEST, wants)):
            if keys[prefix] != (_ATTACHED if holds else _DETACHED):
                await self._put(db, guest, keys, prefix, holds)

    async def _put(
        self, db: QubesDb, guest: RunningGuest, keys: _Keys, prefix: str, holds: bool
    ) -> None:
        value = _ATTACHED if holds else _DETACHED
        await db.write(prefix + guest.name, value)
        keys[prefix] = value

    def _audit(self, kind: EventKind, guest: RunningGuest, what: str) -> None:
        text = f"its microphone was {what} in Qubes"
        self._trail.append(guest_event(kind, guest.name, guest.domid, text, Priority.NOTICE))
