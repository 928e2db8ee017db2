"""Qubes' device dom0:mic and policy, kept in agreement in both directions. See docs/policy.md.

QubesDB has three keys for each qube. Where the first two differ, a person has attached or detached
the microphone since we looked last; where they agree, policy is what may have changed. So nothing
need be remembered while no agent runs. What a person did becomes a grant, and is undone where
policy does not let it be. As long as Qubes' word is not known, nobody records. Qubes that do not
use a card of ours are pacat's, and left alone.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path

from agent_dom0.access.policy_state import Permission
from agent_dom0.cards.registry import Roster
from agent_dom0.events import Event, EventKind, Priority, guest_event
from agent_dom0.guest import Guest
from agent_dom0.qubes.qubesdb import QubesDb
from policy.model import Direction, Verb
from xensnd.backoff import BackOff
from xensnd.errors import XensndError

log = logging.getLogger("xensnd-dom0")

CONFIG = "/audio-input-config/"  # attached or not; Qubes writes it, and so do we
ACTUAL = "/audio-input/"  # what we have made of it
REQUEST = "/audio-input-request/"  # whether the guest records, or would if it were let

# An attached microphone is so until the qube ends, and a grant must have an end.
ATTACHED_SECONDS = 31 * 86400
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# A stream that opens asks a hundred things of us at once.
SETTLE_SECONDS = 0.01

_QUBE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,30}")
_ATTACHED, _DETACHED = "1", "0"

_Keys = dict[str, str | None]


class Microphones:
    """`path` is the socket of QubesDB; None: this is no Qubes, and policy alone decides.

    `reload` reads the policy and decides all streams anew; `follow` decides them anew.
    """

    def __init__(
        self,
        path: Path | None,
        roster: Roster,
        permission: Permission,
        record: Callable[[Event], bool],
        reload: Callable[[], None],
        follow: Callable[[], None],
    ) -> None:
        self._path = path
        self._roster = roster
        self._permission = permission
        self._record = record
        self._reload = reload
        self._follow = follow
        self._is_lost = True  # QubesDB
        self._was_said_lost = False
        self._were_there: set[Guest] | None = None  # before us; None: not looked yet
        self._keys: dict[Guest, _Keys] = {}  # as QubesDB has them
        self._stale: set[str] = set()  # qubes whose keys are to be read again
        self._detached: set[str] = set()  # by a person, while no rule says so
        self._ended: set[str] = set()  # qubes whose grants are to end
        self._may_retry = False  # what could not be written down
        self._writing: dict[str, asyncio.Task[None]] = {}  # of which qube
        self._woken = asyncio.Event()

    def why_not(self, guest: Guest) -> str | None:
        """Why it may not record now, whatever policy says; None: policy decides."""
        if self._path is None or not _QUBE.fullmatch(guest.name):
            return None
        if self._is_lost:
            return "QubesDB does not answer"
        if guest not in self._keys or guest.name in self._ended:
            return "whether Qubes lets it record is not known yet"
        if guest.name in self._detached:
            return "its microphone was detached in Qubes"
        return None

    def notice(self) -> None:
        """A stream, or who runs, may have changed."""
        self._woken.set()

    def policy_changed(self) -> None:
        self._may_retry = True
        self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        while self._path is not None:
            try:
                db = await QubesDb.connect(self._path, self.notice)
                back_off.reset()
                try:
                    await self._serve(db)
                finally:
                    db.close()
            except OSError as error:
                self._lose(error)
            await back_off.wait()

    async def _serve(self, db: QubesDb) -> None:
        await db.watch(CONFIG)
        self._stale = {guest.name for guest in self._keys}
        while True:
            self._woken.clear()
            self._look(db)
            self._forget_ended()
            for guest in self._roster.guests():
                if guest in self._keys or self._is_ours(guest):
                    await self._agree(db, guest)
            self._may_retry = False
            if self._is_lost:
                self._find()
            await self._woken.wait()
            await asyncio.sleep(SETTLE_SECONDS)

    def _is_ours(self, guest: Guest) -> bool:
        return _QUBE.fullmatch(guest.name) is not None and self._roster.serves(guest)

    def _look(self, db: QubesDb) -> None:
        self._stale |= {path.removeprefix(CONFIG) for path in db.changes()}

    def _lose(self, error: OSError) -> None:
        if not self._was_said_lost:
            text = f"QubesDB {self._path}: {error.strerror or error or 'does not answer'}"
            event = Event(EventKind.QUBESDB_LOST, f"{text}; capture is denied", Priority.ERROR)
            self._record(event)
        self._is_lost = self._was_said_lost = True
        self._follow()

    def _find(self) -> None:
        if self._was_said_lost:
            self._record(Event(EventKind.QUBESDB_FOUND, "QubesDB is back", Priority.NOTICE))
        self._is_lost = self._was_said_lost = False
        self._follow()

    def _forget_ended(self) -> None:
        """What was attached to a qube is not when it runs the next time."""
        running = set(self._roster.guests())
        if self._were_there is None:
            self._were_there = running
        for guest in self._keys.keys() - running:
            del self._keys[guest]
            self._detached.discard(guest.name)
            self._ended.add(guest.name)
        self._end_grants()

    def _end_grants(self) -> None:
        self._ended = {name for name in self._ended if not self._permission.end_grants(name)}

    # Agreement

    async def _agree(self, db: QubesDb, guest: Guest) -> None:
        name, is_known = guest.name, guest in self._keys
        if name in self._writing:
            return  # what was said last comes first
        if not is_known or name in self._stale:
            self._stale.discard(name)
            keys = {prefix: await db.read(prefix + name) for prefix in (CONFIG, ACTUAL, REQUEST)}
            if not is_known and keys[CONFIG] is None and guest in (self._were_there or ()):
                self._ended.add(name)  # it has started while there was no agent
                self._end_grants()
            self._keys[guest] = keys
            self._hear(guest, keys)
            if not is_known:
                self._follow()
        elif name in self._detached and self._may_retry:
            self._write_down(guest, Verb.DENY)
        self._look(db)
        if name not in self._stale and name not in self._writing:
            await self._tell(db, guest)

    def _hear(self, guest: Guest, keys: _Keys) -> None:
        """What a person has done in Qubes since we looked last, if anything."""
        said, was = keys[CONFIG], keys[ACTUAL]
        if said is None or said == was:
            return
        if said == _ATTACHED:
            if guest.name in self._detached:
                self._detached.remove(guest.name)
                self._follow()
            if self._permission.verb(guest, Direction.CAPTURE) is not Verb.ALLOW:
                self._say(EventKind.MICROPHONE_ATTACHED, guest, "attached")
                self._write_down(guest, Verb.ALLOW)
        elif self._permission.verb(guest, Direction.CAPTURE) is not Verb.DENY:
            self._detached.add(guest.name)
            self._follow()  # it is silent at once, whatever can be written
            self._say(EventKind.MICROPHONE_DETACHED, guest, "detached")
            self._write_down(guest, Verb.DENY)

    def _write_down(self, guest: Guest, verb: Verb) -> None:
        """Somebody else may be editing: no other qube waits for them."""
        if guest.name not in self._writing:
            self._writing[guest.name] = asyncio.create_task(self._write(guest, verb))

    async def _write(self, guest: Guest, verb: Verb) -> None:
        try:
            await asyncio.to_thread(
                self._permission.write_grant,
                guest.name,
                Direction.CAPTURE,
                ATTACHED_SECONDS,
                verb,
            )
        except XensndError as error:
            log.warning("dom0:mic of %s: %s", guest.name, error)
        else:
            self._detached.discard(guest.name)
            self._reload()
        finally:
            del self._writing[guest.name]
            self.notice()

    async def _tell(self, db: QubesDb, guest: Guest) -> None:
        """CONFIG first: were we to die before ACTUAL, it would look as if a person had said so,
        and what they had said is what holds. Looked at once more, for they may be saying it now."""
        keys = self._keys[guest]
        attached = self._roster.may_record(guest)
        is_new = keys[CONFIG] != (_ATTACHED if attached else _DETACHED)
        if is_new and keys[CONFIG] != await db.read(CONFIG + guest.name):
            self._stale.add(guest.name)
            self.notice()
            return
        wants = self._roster.wants_to_record(guest)
        for prefix, holds in ((CONFIG, attached), (ACTUAL, attached), (REQUEST, wants)):
            value = _ATTACHED if holds else _DETACHED
            if keys[prefix] != value:
                await db.write(prefix + guest.name, value)
                keys[prefix] = value

    def _say(self, kind: EventKind, guest: Guest, what: str) -> None:
        text = f"its microphone was {what} in Qubes"
        self._record(guest_event(kind, guest.name, guest.domid, text, Priority.NOTICE))
