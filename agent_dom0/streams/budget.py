"""What one guest may make the agent do: control requests, events of XenStore, connections.

All devices of a guest, whatever front they have, share its budget. What exceeds it is audited once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent_dom0.events import EventKind, Priority
from agent_dom0.streams.closures import Closures
from agent_dom0.streams.throttle import (
    CONNECTIONS_A_SECOND,
    CONNECTIONS_AT_ONCE,
    STORE_EVENTS_A_SECOND,
    Throttle,
)
from xensnd.core import OPEN_COUNTS_AS, USUAL_PERCENT


class GuestAudit(Protocol):
    def __call__(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None: ...


class GuestBudget:
    """`audit` writes an event of this guest into the audit trail."""

    def __init__(self, audit: GuestAudit) -> None:
        self._audit = audit
        self.requests = Throttle()
        self.store_events = Throttle(STORE_EVENTS_A_SECOND)
        self.connections = Throttle(CONNECTIONS_A_SECOND, CONNECTIONS_AT_ONCE)
        self._throttles = (self.requests, self.store_events, self.connections)
        self._closures = Closures()
        self.percent = USUAL_PERCENT

    def set_percent(self, percent: int) -> None:
        """Let the guest have so much of the usual budget from now on."""
        self.percent = percent
        for throttle in self._throttles:
            throttle.set_percent(percent)

    @property
    def too_many_requests(self) -> str:
        most = self.requests.at_once
        return f"{most} requests within a second; an OPEN counts as {OPEN_COUNTS_AS}"

    def admits_store_events(self, times: int) -> bool:
        """Return whether XenStore's `times` events, which came at once, may be followed."""
        if self.store_events.admits(times):
            return True
        if self.store_events.exceeds_anew:
            most = self.store_events.at_once
            text = f"more than {most} changes of its nodes in XenStore in a second"
            self._audit(EventKind.LIMIT_HIT, f"{text}; they wait", Priority.NOTICE)
        return False

    def admits_connection(self, devices: str, later: Callable[[], None]) -> bool:
        """Return whether one of its `devices` may connect now. If not, `later` is called when it
        may be tried again."""
        are_closed = not self._closures.are_over
        if not are_closed and self.connections.admits():
            return True
        if not are_closed and self.connections.exceeds_anew:
            text = (
                f"more than {self.connections.at_once} connections of its {devices}, "
                f"and than {self.connections.a_second:g} a second; the next ones wait"
            )
            self._audit(EventKind.LIMIT_HIT, text, Priority.NOTICE)
        self.connections.poll_later(later)
        return False

    def count_closure(self) -> str:
        """Count a device that is closed for what the guest has done. Returns how, for people."""
        seconds = self._closures.add()
        return f"closed for {seconds:g} s" if seconds else "closed"

    def forget(self, poll: Callable[[], None]) -> None:
        """Do not call `poll` any more, whatever it waits for."""
        for throttle in self._throttles:
            throttle.forget(poll)

    def close(self) -> None:
        """The guest is gone, or the agent ends: nothing waits any more."""
        for throttle in self._throttles:
            throttle.close()
