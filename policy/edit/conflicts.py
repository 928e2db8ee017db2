"""What a policy says of all that a rule's guest can stand for: is a wish fulfilled, or overridden?

The engine decides for one guest; an edit is about a name, a glob, a tag, and for times to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from policy.language.identities import NAMES_ALONE, Identities
from policy.matching import Guest, Kind, covers, kind_of, may_overlap, speaks_of
from policy.model import NO_OPTIONS, Direction, Options, Policy, Rule, Verb


class Reach(Enum):
    """How much of a subject another pattern reaches."""

    ALL = auto()
    SOME = auto()  # or perhaps
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Subject:
    """What an edit is about: a rule's guest, and what is known of it if it is a name."""

    guest: str
    identity: Guest | None
    is_one: bool  # a name or a uuid, not a set that others make exceptions to

    @classmethod
    def of(cls, guest: str, identities: Identities = NAMES_ALONE) -> Subject:
        kind = kind_of(guest)[0]
        identity = identities.guest(guest) if kind is Kind.NAME else None
        return cls(guest, identity, kind in (Kind.NAME, Kind.UUID))

    def reached_by(self, pattern: str) -> Reach:
        if pattern == self.guest or not pattern.strip("*"):
            return Reach.ALL
        if self.identity is not None:
            known = speaks_of(pattern, self.identity)
            return Reach.SOME if known is None else Reach.ALL if known else Reach.NONE
        mine, other = kind_of(self.guest)[0], kind_of(pattern)[0]
        if mine is Kind.GLOB and other in (Kind.NAME, Kind.GLOB):
            if covers(pattern, self.guest):
                return Reach.ALL
            return Reach.SOME if may_overlap(pattern, self.guest) else Reach.NONE
        apart = mine is other and mine in (Kind.UUID, Kind.LABEL)  # a guest has one of these
        return Reach.NONE if apart else Reach.SOME


@dataclass(frozen=True, slots=True)
class Wish:
    """Let this subject get this verb, from now on for good, or for a time."""

    subject: Subject
    direction: Direction
    verb: Verb
    for_good: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """What becomes of a wish. At most one of the first two is not None."""

    rule: Rule | None  # fulfils it for all that the subject stands for
    overriding: Rule | None  # is asked before any that would, and says otherwise for all
    exceptions: tuple[Rule, ...]  # are asked before, and say otherwise for some, or perhaps


def standing(policy: Policy, wish: Wish, now: datetime) -> Standing:
    """The rules asked one by one, from now to the end of time."""
    exceptions: list[Rule] = []
    covered_until: datetime | None = None  # by temporary rules that say what is wished
    for rule in policy.rules:
        verb = rule.verb(wish.direction)
        if verb is None or rule.is_over(now):
            continue
        reach = wish.subject.reached_by(rule.guest)
        if reach is Reach.NONE:
            continue
        if verb is not wish.verb:
            if covered_until is not None and rule.ends is not None and rule.ends <= covered_until:
                continue
            if reach is Reach.ALL:
                return Standing(None, rule, tuple(exceptions))
            exceptions.append(rule)
        elif reach is Reach.ALL:
            if rule.is_for_good or not wish.for_good:
                return Standing(rule, None, tuple(exceptions))
            if rule.holds_at(now) and not rule.once:
                ends = rule.ends or now
                covered_until = max(covered_until or ends, ends)
    return Standing(None, None, tuple(exceptions))


def limits_of(policy: Policy, subject: Subject, direction: Direction) -> Options:
    """The limits that hold for good for all of the subject; a new verb does not lift them."""
    for rule in policy.rules:
        speaks = rule.verb(direction) is not None and rule.is_for_good
        if speaks and subject.reached_by(rule.guest) is Reach.ALL:
            return rule.options
    return NO_OPTIONS
