"""Grants for one stream: taken by the first stream that goes live, removed when it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policy.edit import atomic, grants
from policy.model import Rule, Verb
from tests.unit.test_policy_grants import Machine
from xensnd.errors import PolicyError

ALLOW, DENY = Verb.ALLOW, Verb.DENY
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def taken(machine: Machine, stream: str) -> bool:
    rule = machine.decide("work", stream=stream).rule
    assert isinstance(rule, Rule)
    return grants.take(machine.runtime, rule, stream)


def test_once_grant_is_only_for_the_stream_that_takes_it(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    assert machine.decide("work", stream="7/0/1").must_be_taken
    assert taken(machine, "7/0/1")
    mine = machine.decide("work", stream="7/0/1")
    assert (mine.verb, mine.must_be_taken) == (ALLOW, False)
    assert machine.decide("work", stream="7/0/0").verb is DENY
    assert machine.verb("work") is DENY


def test_once_grant_ends_when_its_stream_ends(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    taken(machine, "7/0/1")
    assert not grants.release(machine.runtime, "7/0/0")
    assert grants.release(machine.runtime, "7/0/1")
    assert machine.decide("work", stream="7/0/1").verb is DENY
    assert machine.grants == []


def test_once_grant_is_taken_by_one_of_two_streams(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    rule = machine.decide("work").rule
    assert rule is not None
    assert grants.take(machine.runtime, rule, "7/0/0")
    assert not grants.take(machine.runtime, rule, "7/0/1")


def test_once_grant_that_was_revoked_cannot_be_taken(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    rule = machine.decide("work").rule
    assert rule is not None
    machine.set("work", DENY)
    assert not grants.take(machine.runtime, rule, "7/0/0")


def test_denying_revokes_a_grant_that_a_stream_has_taken(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    taken(machine, "7/0/1")
    machine.set("work", DENY)
    assert machine.decide("work", stream="7/0/1").verb is DENY


def test_once_grant_ends_at_its_time_even_while_a_stream_uses_it(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    taken(machine, "7/0/1")
    assert machine.decide("work", NOON + 30 * MINUTE, "7/0/1").verb is DENY


def test_agent_that_starts_removes_the_grants_of_streams_that_are_gone(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    taken(machine, "7/0/1")
    machine.grant("home", ALLOW, 30)
    assert not grants.release_others(machine.runtime, {"7/0/1"})
    assert grants.release_others(machine.runtime, set())
    assert machine.grants == ["home allow"]


def test_grant_that_cannot_be_written_cannot_be_taken(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.grant("work", ALLOW, 30, once=True)
    monkeypatch.setattr(grants, "PATIENCE_SECONDS", 0.02)
    with atomic.locked(machine.grants_path), pytest.raises(PolicyError) as caught:
        taken(machine, "7/0/1")
    assert str(caught.value).startswith(
        f"{machine.grants_path}: cannot be written: {machine.grants_path}: locked by another"
    )
    assert machine.decide("work", stream="7/0/1").must_be_taken
