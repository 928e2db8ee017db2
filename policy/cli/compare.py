"""How two policies differ, guest by guest, for the command diff. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from policy.engine import decide
from policy.matching import GuestIdentity, Kind, split_kind
from policy.model import Decision, Direction, Policy, join_fields


@dataclass(frozen=True, slots=True)
class Change:
    guest: GuestIdentity
    direction: Direction
    before: Decision
    after: Decision


def changes(
    before: Policy, after: Policy, guests: Iterable[GuestIdentity], now: datetime
) -> tuple[Change, ...]:
    """Return where verb, limits or times differ. Another rule with the same ones is not a
    change."""
    found = []
    for guest in guests:
        for direction in Direction:
            old = decide(before, guest, direction, now)
            new = decide(after, guest, direction, now)
            if old.verb != new.verb or conditions(old) != conditions(new):
                found.append(Change(guest, direction, old, new))
    return tuple(found)


def conditions(decision: Decision) -> str:
    """The limits and times of the rule that decides."""
    return join_fields(decision.rule.conditions) if decision.rule else ""


def names_in(policy: Policy) -> list[str]:
    """The guests that the policy's rules name, in order and each once."""
    patterns = (split_kind(rule.guest) for rule in policy.rules)
    return list(dict.fromkeys(name for kind, name in patterns if kind is Kind.NAME))
