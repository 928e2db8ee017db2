"""A guest's part of the audit trail: it has a budget of records, and the rest is counted.

A guest decides how often it opens a stream, so it could fill the trail, and with it the disk;
then nobody could record. What its budget does not hold is told as counts, in one record a second
at most. So each event is either a record of its own or counted in one, and never both.

What says something new, such as a decision other than the last one that was written, is not only
counted. A part of the budget is reserved for it. If even that is used up, it is written as soon as
there is room, unless something newer comes before; and a new decision by which the guest may record
is not taken until then.

What persons, policy and the toolstack do is always written at once. So is a new decision about a
stream that is open already, since the guest does not cause it.

This needs the same memory for each guest, whatever the guest does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable

from agent_dom0.audit import NOT_WRITTEN, AuditTrail
from agent_dom0.events import Event, EventKind, Priority, guest_event, late
from policy.model import Direction, Verb
from xensnd.core import USUAL_PERCENT

# The budget of one guest. A guest that begins has all of it.
BUDGET_RECORDS = 100
# This part of the budget is only for what says something new.
RESERVED_RECORDS = 30
RECORDS_A_SECOND = 5.0
# How long events are counted before the counts are written.
SUMMARY_SECONDS = 1.0

OVER_BUDGET = "the guest's budget of the audit trail is used up"

# What a guest can cause as often as it likes.
BUDGETED = frozenset(
    {
        EventKind.DEVICE_CONNECTED,
        EventKind.DEVICE_DISCONNECTED,
        EventKind.DEVICE_FAILED,
        EventKind.STREAM_OPENED,
        EventKind.STREAM_TAKEN_OVER,
        EventKind.STREAM_STARTED,
        EventKind.STREAM_STOPPED,
        EventKind.STREAM_CLOSED,
        EventKind.DECISION,
        EventKind.LIMIT_HIT,
        EventKind.SOURCE_ADMITTED,
        EventKind.SOURCE_REFUSED,
        EventKind.PROTOCOL_VIOLATION,
        EventKind.SERVER_LOST,
        EventKind.SERVER_FOUND,
    }
)
# What such an event is about. It says something new if its text is another one than the last
# that was written about the same subject and direction.
_SUBJECTS = {
    EventKind.DECISION: "decision",
    EventKind.SOURCE_ADMITTED: "source",
    EventKind.SOURCE_REFUSED: "source",
    EventKind.PROTOCOL_VIOLATION: "violation",
    EventKind.LIMIT_HIT: "limit",
    EventKind.DEVICE_FAILED: "failure",
    EventKind.SERVER_LOST: "server",
    EventKind.SERVER_FOUND: "server",
}
_Subject = tuple[str, object]


class GuestTrail:
    """`on_room` is called when a decision that did not fit may be tried again. `clock` returns
    seconds."""

    def __init__(
        self,
        trail: AuditTrail,
        on_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trail = trail
        self._on_room = on_room
        self._clock = clock
        self._percent = USUAL_PERCENT
        self._records_left = float(BUDGET_RECORDS)
        self._refilled_at = clock()
        self._told: dict[_Subject, str] = {}  # the last texts that were written
        self._postponed: dict[_Subject, Event] = {}  # the oldest is the first
        self._counts: _Counts | None = None
        self._awaits_room = False  # a decision that did not fit
        self._timer: asyncio.TimerHandle | None = None

    def set_percent(self, percent: int) -> None:
        """Let the guest have so much of the usual budget from now on."""
        self._refilled()
        self._percent = percent

    def append(self, event: Event, *, by_guest: bool = True) -> bool:
        """Write the event, or count it. False: the trail is lost, and allows nothing.

        `by_guest`: the guest has caused it."""
        if event.kind not in BUDGETED:
            return self._trail.append(event)
        is_new = self._is_new(event)
        self._supersede(event)
        if is_new and not by_guest:
            return self._write(event)
        if self._has_room(is_new=is_new):
            self._records_left -= 1
            return self._write(event)
        if is_new:
            self._postponed[_subject(event)] = event
        else:
            self._count(event)
        self._tell_later()
        return not self._trail.is_lost

    def permit(self, event: Event, *, by_guest: bool = True) -> str | None:
        """Write a decision by which the guest may record. Return why it may not, after all."""
        if by_guest and self._is_new(event) and not self._has_room(is_new=True):
            self._supersede(event)
            self._count(event, Verb.DENY)
            self._awaits_room = True
            self._tell_later()
            return OVER_BUDGET
        return None if self.append(event, by_guest=by_guest) else NOT_WRITTEN

    def close(self) -> None:
        """Tell all that was counted or postponed. The guest has gone, or the agent ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_counts()
        while self._postponed:
            self._write_postponed()

    # The budget

    def _has_room(self, *, is_new: bool) -> bool:
        if is_new:
            return not self._postponed and self._refilled() >= 1
        return self._refilled() >= 1 + self._share_of(RESERVED_RECORDS)

    def _refilled(self) -> float:
        """Return how many records the guest may write now."""
        now = self._clock()
        # While the trail is lost, records are kept in memory that all guests share. So a guest gets
        # no more room there than it had.
        if not self._trail.is_lost:
            refill = (now - self._refilled_at) * self._share_of(RECORDS_A_SECOND)
            most = self._share_of(BUDGET_RECORDS)
            self._records_left = min(self._records_left + refill, most)
        self._refilled_at = now
        return self._records_left

    def _share_of(self, usual: float) -> float:
        return usual * self._percent / USUAL_PERCENT

    def _write(self, event: Event) -> bool:
        is_written = self._trail.append(event)
        if is_written and event.kind in _SUBJECTS:
            self._told[_subject(event)] = event.text
        return is_written

    def _is_new(self, event: Event) -> bool:
        return event.kind in _SUBJECTS and self._told.get(_subject(event)) != event.text

    def _supersede(self, event: Event) -> None:
        """Only count what waits to be written about the same subject: it holds no longer."""
        before = self._postponed.pop(_subject(event), None)
        if before is not None:
            self._count(before)

    # What did not fit

    def _count(self, event: Event, decision: Verb | None = None) -> None:
        """`decision`: what was done, if it is not what the event says."""
        if self._counts is not None and not self._counts.has_name_of(event):
            self._tell_counts()
        if self._counts is None:
            self._counts = _Counts(event)
        self._counts.add(event, decision)

    def _tell_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SUMMARY_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._trail.is_lost:
            self._tell_counts()
            while self._postponed and self._refilled() >= 1:
                self._write_postponed()
            if self._awaits_room and self._has_room(is_new=True):
                self._awaits_room = False
                self._records_left -= 1  # for the decision
                self._on_room()
        if self._awaits_room or self._counts or self._postponed:
            self._tell_later()

    def _write_postponed(self) -> None:
        self._records_left -= 1
        oldest = next(iter(self._postponed))
        self._write(late(self._postponed.pop(oldest)))

    def _tell_counts(self) -> None:
        if self._counts is not None:
            counts, self._counts = self._counts, None
            self._trail.append(counts.event())


class _Counts:
    """How many events of each kind were not written, from the first one on. Nothing of it depends
    on what a guest names: there are only so many kinds, directions and verbs."""

    def __init__(self, first: Event) -> None:
        self._first = first
        self._until = first.time
        self._counter: Counter[str] = Counter()
        self._recorded_octets = 0

    def has_name_of(self, event: Event) -> bool:
        """Whether the event is of the guest under the same name."""
        return self._first.fields["XENSND_GUEST"] == event.fields["XENSND_GUEST"]

    def add(self, event: Event, decision: Verb | None) -> None:
        self._until = event.time
        direction = event.fields.get("XENSND_DIRECTION")
        verb = decision or event.fields.get("XENSND_DECISION")
        what = (direction, event.kind.name.lower(), verb)
        self._counter[" ".join(str(word) for word in what if word is not None)] += 1
        if direction == Direction.CAPTURE.value:
            self._recorded_octets += int(event.fields.get("XENSND_OCTETS", 0))

    def event(self) -> Event:
        counted = dict(self._counter.most_common())
        said = ", ".join(f"{count} {what}" for what, count in counted.items())
        guest, domid = self._first.fields["XENSND_GUEST"], self._first.fields["XENSND_DOMID"]
        event = guest_event(
            EventKind.EVENTS_SUMMARISED,
            str(guest),
            int(domid),
            f"more events than its budget allows, so they were only counted: {said}",
            Priority.WARNING,
        )
        event.fields.update(
            XENSND_EVENTS=self._counter.total(),
            XENSND_COUNTS=json.dumps(counted),
            XENSND_SINCE=self._first.time.isoformat(timespec="microseconds"),
            XENSND_UNTIL=self._until.isoformat(timespec="microseconds"),
            XENSND_RECORDED_OCTETS=self._recorded_octets,
        )
        return event


def _subject(event: Event) -> _Subject:
    return _SUBJECTS.get(event.kind, ""), event.fields.get("XENSND_DIRECTION")
