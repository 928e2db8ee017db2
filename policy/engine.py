"""What a policy says of a guest. Pure: no I/O, no clock; the same question, the same answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from policy.guests import covers, is_glob, matcher, matches, may_overlap
from policy.model import Decision, Direction, Policy, Rule, Verb


def decide(policy: Policy, guest: str, direction: Direction) -> Decision:
    """The first rule that matches the guest and speaks of the direction decides; none: denied."""
    if not guest or not guest.isprintable():
        return Decision(Verb.DENY, None, "the guest has no printable name")
    rule = _first_rule(policy, guest, direction)
    verb = rule.verb(direction) if rule else None
    if rule is None or verb is None:
        return Decision(Verb.DENY, None, f"no rule that matches speaks of {direction}")
    return Decision(verb, rule, f"first rule that matches and speaks of {direction}: {rule.text}")


def gives_device(policy: Policy, guest: str) -> frozenset[Direction]:
    """Which directions the guest's card should have; none: no card.

    Both, as soon as one is allowed: a card cannot grow while it is in use, and a denied direction
    ticks in silence so that it can go live the moment it is allowed.
    """
    verbs = (decide(policy, guest, direction).verb for direction in Direction)
    return frozenset(Direction) if any(verb is not Verb.DENY for verb in verbs) else frozenset()


class Part(StrEnum):
    """What part a rule that matches the guest has in the decision."""

    SILENT = "passed over: it does not speak of the direction"
    DECIDES = "decides: the first that matches and speaks of the direction"
    TOO_LATE = "not asked: a rule above decides"


@dataclass(frozen=True, slots=True)
class Explanation:
    decision: Decision
    parts: tuple[tuple[Rule, Part], ...]  # every rule that matches the guest, in order


def explain(policy: Policy, guest: str, direction: Direction) -> Explanation:
    decision = decide(policy, guest, direction)
    parts: list[tuple[Rule, Part]] = []
    decided = False
    for rule in (rule for rule in policy.rules if matches(rule.guest, guest)):
        speaks = rule.verb(direction) is not None
        part = Part.TOO_LATE if decided else Part.DECIDES if speaks else Part.SILENT
        decided = decided or speaks
        parts.append((rule, part))
    return Explanation(decision, tuple(parts))


def covering_rule(policy: Policy, guest: str, direction: Direction) -> Rule | None:
    """The first rule that decides the direction for all that `guest`, a name or a glob, matches."""
    speaking = (rule for rule in policy.rules if rule.verb(direction) is not None)
    return next((rule for rule in speaking if covers(rule.guest, guest)), None)


def exceptions(policy: Policy, guest: str, direction: Direction) -> tuple[Rule, ...]:
    """The rules above the one that covers a glob which say otherwise for some guests."""
    covering = covering_rule(policy, guest, direction)
    if covering is None:
        return ()
    above = policy.rules[: policy.rules.index(covering)]
    otherwise = (None, covering.verb(direction))
    return tuple(
        rule
        for rule in above
        if rule.verb(direction) not in otherwise and may_overlap(rule.guest, guest)
    )


@dataclass(frozen=True, slots=True)
class _Index:
    """The rules that speak of one direction: exact names looked up, globs tried in order."""

    exact: dict[str, tuple[int, Rule]]  # the first rule of each name, and its place in the order
    globs: tuple[tuple[int, Callable[[str], object], Rule], ...]


@lru_cache(maxsize=8)
def _index(policy: Policy, direction: Direction) -> _Index:
    exact: dict[str, tuple[int, Rule]] = {}
    globs: dict[str, tuple[int, Callable[[str], object], Rule]] = {}
    for order, rule in enumerate(policy.rules):
        if rule.verb(direction) is None:
            continue
        if not is_glob(rule.guest):
            exact.setdefault(rule.guest, (order, rule))
        elif rule.guest not in globs:
            globs[rule.guest] = (order, matcher(rule.guest), rule)
    return _Index(exact, tuple(globs.values()))


@lru_cache(maxsize=4096)  # a few hundred guests, two directions, the policies of a while
def _first_rule(policy: Policy, guest: str, direction: Direction) -> Rule | None:
    index = _index(policy, direction)
    last, named = index.exact.get(guest, (len(policy.rules), None))
    for order, glob_matches, rule in index.globs:
        if order > last:
            break
        if glob_matches(guest):
            return rule
    return named
