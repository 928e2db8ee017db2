"""The numbers of the audit trail's records, over a loss and over a restart of the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_dom0.audit import KEPT_MAX, AuditTrail
from agent_dom0.events import Event, EventKind
from agent_dom0.trail_numbers import open_numbers
from tests.unit.test_dom0_policy_state import Trail


def event(text: str = "") -> Event:
    return Event(EventKind.DECISION, text)


def numbers(trail: Trail) -> list[object]:
    return [each.fields["XENSND_SEQUENCE"] for each in trail.events]


def rows(trail: Trail) -> list[object]:
    return [each.fields["XENSND_INSTANCE"] for each in trail.events]


class Agents:
    """One after the other. `path` is that of the numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trail = Trail()

    def begin(self, where: str = "journal") -> AuditTrail:
        audit = AuditTrail(self.trail)
        audit.number_by(open_numbers(self.path, where))
        return audit


@pytest.fixture
def agents(tmp_path: Path) -> Agents:
    return Agents(tmp_path / "trail-0")


def test_next_agent_goes_on_with_the_numbers_whatever_ended_the_one_before(agents: Agents) -> None:
    for _ in range(3):
        agents.begin().append(event())  # and is killed
    assert numbers(agents.trail) == [1, 2, 3]
    assert len(set(rows(agents.trail))) == 1


def test_what_was_in_the_memory_of_an_agent_that_died_is_a_gap(agents: Agents) -> None:
    first = agents.begin()
    first.append(event())
    agents.trail.is_broken = True
    for _ in range(5):
        first.append(event())
    agents.trail.is_broken = False
    agents.begin().append(event())
    assert numbers(agents.trail) == [1, 7]


@pytest.mark.parametrize("left", [b"", b"xensndn1", b"x" * 48, b"x" * 500])
def test_new_row_begins_where_there_is_nothing_to_go_on_with(agents: Agents, left: bytes) -> None:
    agents.begin().append(event())
    agents.path.write_bytes(left)
    agents.begin().append(event())
    assert numbers(agents.trail) == [1, 1]
    assert len(set(rows(agents.trail))) == 2
    agents.begin().append(event())
    assert numbers(agents.trail)[-1] == 2


def test_each_trail_has_a_row_of_its_own(agents: Agents) -> None:
    agents.begin("/var/log/audit").append(event())
    agents.begin("journal").append(event())
    assert numbers(agents.trail) == [1, 1]
    assert len(set(rows(agents.trail))) == 2


def test_agent_that_can_keep_no_number_begins_a_row(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "none" / "trail-0")
    agents.begin().append(event())
    agents.begin().append(event())
    assert numbers(agents.trail) == [1, 1]
    assert len(set(rows(agents.trail))) == 2


def test_late_events_keep_their_numbers_and_those_that_are_missing_are_a_gap() -> None:
    trail = Trail()
    audit = AuditTrail(trail)
    trail.is_broken = True
    for _ in range(KEPT_MAX + 5):
        audit.append(event())
    trail.is_broken = False
    while audit.retry():
        pass
    audit.append(event())
    assert numbers(trail) == [*range(1, KEPT_MAX + 1), KEPT_MAX + 6, KEPT_MAX + 7]


def test_trail_that_breaks_again_before_it_says_so_leaves_no_gap() -> None:
    class Flaky(Trail):
        def write(self, event: Event) -> None:
            if event.kind is EventKind.AUDIT_RESUMED and not self.has_refused:
                self.has_refused = True
                raise OSError(28, "No space left on device")
            super().write(event)

        has_refused = False

    trail = Flaky()
    audit = AuditTrail(trail)
    trail.is_broken = True
    audit.append(event("a"))
    trail.is_broken = False
    assert not audit.retry()
    assert audit.is_lost
    audit.append(event("b"))
    while audit.retry():
        pass
    assert sorted(map(str, numbers(trail))) == ["1", "2", "3"]
