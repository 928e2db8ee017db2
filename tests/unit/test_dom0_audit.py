"""A trail that is lost for a while: what is kept, what is missing, what is said of it."""

from __future__ import annotations

import time
from itertools import count

import pytest

from agent_dom0.audit import CATCH_UP_SECONDS, KEPT_MAX, AuditTrail
from agent_dom0.events import Event, EventKind
from tests.unit.test_dom0_policy_state import Trail


def event(text: str) -> Event:
    return Event(EventKind.DECISION, text)


def test_events_of_a_lost_trail_are_written_late_in_order_with_their_time() -> None:
    trail = Trail()
    audit = AuditTrail(trail)
    trail.is_broken = True
    lost = [event("a"), event("b")]
    assert [audit.append(each) for each in lost] == [False, False]
    assert (audit.is_lost, audit.missing) == (True, 2)
    trail.is_broken = False
    audit.retry()
    assert [each.text for each in trail.events] == [
        "a",
        "b",
        "the audit trail is written again; 2 events were written late, 0 are missing from it",
    ]
    assert [each.fields.get("XENSND_TIME") for each in trail.events[:2]] == [
        each.time.isoformat(timespec="microseconds") for each in lost
    ]
    assert (audit.is_lost, audit.missing) == (False, 0)
    assert audit.append(event("c"))


def test_no_more_than_the_bound_is_kept_and_the_rest_is_counted() -> None:
    trail = Trail()
    audit = AuditTrail(trail)
    trail.is_broken = True
    for number in range(KEPT_MAX + 5):
        audit.append(event(str(number)))
    trail.is_broken = False
    while audit.retry():
        pass  # it writes for a limited time, then asks to be called again
    assert len(trail.events) == KEPT_MAX + 1
    assert trail.events[0].text == "0"
    resumed = trail.events[-1].fields
    assert (resumed["XENSND_LATE"], resumed["XENSND_MISSING"]) == (KEPT_MAX, 5)


def test_trail_that_breaks_again_half_way_writes_nothing_twice() -> None:
    trail = Trail()
    audit = AuditTrail(trail)
    trail.is_broken = True
    for text in "abc":
        audit.append(event(text))

    class Flaky(Trail):
        def write(self, event: Event) -> None:
            self.is_broken = len(self.events) == 2
            super().write(event)

    flaky = Flaky()
    audit._sink = flaky
    audit.retry()
    assert audit.is_lost
    audit._sink = trail
    trail.is_broken = False
    audit.retry()
    assert [each.text for each in flaky.events + trail.events][:3] == ["a", "b", "c"]
    assert trail.events[-1].fields["XENSND_LATE"] == 3


def test_many_late_events_are_written_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    trail = Trail()
    audit = AuditTrail(trail)
    trail.is_broken = True
    for text in "abcd":
        audit.append(event(text))
    trail.is_broken = False
    clock = count(0, CATCH_UP_SECONDS * 0.6)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert audit.retry()
    assert [each.text for each in trail.events] == ["a"]
    assert audit.is_lost
    while audit.retry():
        pass
    assert [each.text for each in trail.events[:4]] == ["a", "b", "c", "d"]
    assert not audit.is_lost
