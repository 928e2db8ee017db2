"""What one policy would change beside another, guest by guest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from policy.engine import decide
from policy.matching import Guest, Kind, kind_of
from policy.model import Decision, Direction, Policy


@dataclass(frozen=True, slots=True)
class Change:
    guest: Guest
    direction: Direction
    before: Decision
    after: Decision


def changes(
    before: Policy, after: Policy, guests: Iterable[Guest], now: datetime
) -> tuple[Change, ...]:
    """Where the verb, or what goes with it, would differ; not where another rule says the same."""
    found = []
    for guest in guests:
        for direction in Direction:
            old = decide(before, guest, direction, now)
            new = decide(after, guest, direction, now)
            if effect(old) != effect(new):
                found.append(Change(guest, direction, old, new))
    return tuple(found)


def effect(decision: Decision) -> str:
    """The verb and what goes with it, as a rule has it."""
    conditions = decision.rule.conditions if decision.rule else {}
    return ", ".join([decision.verb, *(f"{key}: {value}" for key, value in conditions.items())])


def names_in(policy: Policy) -> list[str]:
    """The guests that its rules call by their names, in order."""
    names = (kind_of(rule.guest) for rule in policy.rules)
    return list(dict.fromkeys(name for kind, name in names if kind is Kind.NAME))
