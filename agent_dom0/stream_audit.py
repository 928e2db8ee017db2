"""Audits one stream, under the present name of its guest."""

from __future__ import annotations

import math
import time
from typing import Protocol

from agent_dom0.audit import AuditTrail
from agent_dom0.events import EventKind, Priority, decision_event, guest_event
from agent_dom0.guest import RunningGuest
from policy.model import Decision, Direction

# The same limit is audited again only after this time.
LIMIT_SECONDS = 1.0
LIMITS_MAX = 64


class NamedGuest(Protocol):
    """The guest that owns the stream. Its name may change while the stream is open."""

    @property
    def guest(self) -> RunningGuest: ...


class StreamAudit:
    def __init__(self, trail: AuditTrail, owner: NamedGuest, direction: Direction) -> None:
        self._trail = trail
        self._owner = owner
        self._direction = direction
        self._limits_told: dict[str, float] = {}  # when

    def tell(
        self,
        kind: EventKind,
        text: str,
        priority: Priority = Priority.INFO,
        **fields: str | int,
    ) -> bool:
        """Audit it. Returns False if it could not be written."""
        guest = self._owner.guest
        event = guest_event(kind, guest.name, guest.domid, f"{self._direction} {text}", priority)
        event.fields.update(XENSND_DIRECTION=self._direction.value, **fields)
        return self._trail.append(event)

    def tell_decision(self, decision: Decision) -> bool:
        """Audit it. Returns False if it could not be written."""
        guest = self._owner.guest
        event = decision_event(guest.name, guest.domid, self._direction, decision)
        return self._trail.append(event)

    def tell_limit(self, text: str) -> None:
        """Audit a limit, at most once in LIMIT_SECONDS, so that a guest cannot fill the trail."""
        now = time.monotonic()
        if now - self._limits_told.get(text, -math.inf) < LIMIT_SECONDS:
            return
        if len(self._limits_told) >= LIMITS_MAX:
            self._limits_told.clear()
        self._limits_told[text] = now
        self.tell(EventKind.LIMIT_HIT, text, Priority.NOTICE)
