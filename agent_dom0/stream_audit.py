"""Audits one stream, under the present name of its guest."""

from __future__ import annotations

import math
import time
from typing import Protocol

from agent_dom0.audit import NOT_WRITTEN
from agent_dom0.events import EventKind, Priority, decision_event, guest_event
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from policy.model import Decision, Direction, Verb

# The same limit is audited again only after this time.
LIMIT_SECONDS = 1.0
LIMITS_MAX = 64


class NamedGuest(Protocol):
    """The guest that owns the stream. Its name may change while the stream is open."""

    @property
    def guest(self) -> RunningGuest: ...


class StreamAudit:
    def __init__(self, trail: GuestTrail, owner: NamedGuest, direction: Direction) -> None:
        self._trail = trail
        self._owner = owner
        self.direction = direction
        self._limits_told: dict[str, float] = {}  # when

    def tell(
        self,
        kind: EventKind,
        text: str,
        priority: Priority = Priority.INFO,
        **fields: str | int,
    ) -> bool:
        """Audit it. Returns False if the trail is lost."""
        guest = self._owner.guest
        event = guest_event(kind, guest.name, guest.domid, f"{self.direction} {text}", priority)
        event.fields.update(XENSND_DIRECTION=self.direction.value, **fields)
        return self._trail.append(event)

    def tell_decision(self, decision: Decision, *, by_guest: bool = True) -> str | None:
        """Audit it. Returns why the stream may not record by it, after all; None: it may.

        `by_guest`: the guest has caused the decision, not a person, policy or the time."""
        guest = self._owner.guest
        event = decision_event(guest.name, guest.domid, self.direction, decision)
        if self.direction is Direction.CAPTURE and decision.verb is not Verb.DENY:
            return self._trail.permit(event, by_guest=by_guest)
        return None if self._trail.append(event, by_guest=by_guest) else NOT_WRITTEN

    def tell_limit(self, text: str) -> None:
        """Audit a limit, at most once in LIMIT_SECONDS, so that a guest cannot fill the trail."""
        now = time.monotonic()
        if now - self._limits_told.get(text, -math.inf) < LIMIT_SECONDS:
            return
        if len(self._limits_told) >= LIMITS_MAX:
            self._limits_told.clear()
        self._limits_told[text] = now
        self.tell(EventKind.LIMIT_HIT, text, Priority.NOTICE)
