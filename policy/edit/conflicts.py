"""What other rules leave of an edit: whether it takes effect, for all guests or with exceptions.

The engine decides for one guest at one time. An edit may be about many guests (a glob, a tag) and
about all times from now on, so it is checked against the rules here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from policy.language.identities import NAMES_ALONE, Identities
from policy.matching import GuestIdentity, Kind, applies_to, covers, may_overlap, split_kind
from policy.model import NO_OPTIONS, Direction, Options, Policy, Rule, Verb


class Overlap(Enum):
    """How many guests of a subject another pattern matches."""

    ALL = auto()
    SOME = auto()  # or that is not known
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Subject:
    """The guests that an edit is about: a pattern, and what is known of the guest it names."""

    guest: str  # a pattern
    identity: GuestIdentity | None  # None: the pattern is not a name
    is_one: bool  # a name or UUID; not a set of guests, from which other rules may make exceptions

    @classmethod
    def of(cls, guest: str, identities: Identities = NAMES_ALONE) -> Subject:
        kind = split_kind(guest)[0]
        identity = identities.guest(guest) if kind is Kind.NAME else None
        return cls(guest, identity, kind in (Kind.NAME, Kind.UUID))

    def overlap_with(self, pattern: str) -> Overlap:
        if pattern == self.guest or not pattern.strip("*"):
            return Overlap.ALL
        if self.identity is not None:
            is_match = applies_to(pattern, self.identity)
            return Overlap.SOME if is_match is None else Overlap.ALL if is_match else Overlap.NONE
        mine, other = split_kind(self.guest)[0], split_kind(pattern)[0]
        if mine is Kind.GLOB and other in (Kind.NAME, Kind.GLOB):
            if covers(pattern, self.guest):
                return Overlap.ALL
            return Overlap.SOME if may_overlap(pattern, self.guest) else Overlap.NONE
        # A guest has one UUID, one label and one class, so two different ones exclude each other.
        exclusive = mine is other and mine in (Kind.UUID, Kind.LABEL, Kind.CLASS)
        return Overlap.NONE if exclusive else Overlap.SOME


@dataclass(frozen=True, slots=True)
class EditRequest:
    """The subject shall have this verb from now on, permanently or for a time."""

    subject: Subject
    direction: Direction
    verb: Verb
    permanent: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request would come to. At most one of the first two is not None."""

    rule: Rule | None  # gives the whole subject the verb
    overriding: Rule | None  # comes before any such rule, and gives all another verb
    exceptions: tuple[Rule, ...]  # come before, and give some, or perhaps some, another verb


def outcome_of(policy: Policy, request: EditRequest, now: datetime) -> Outcome:
    """Checks the rules in order, each for all times from now on."""
    exceptions: list[Rule] = []
    covered_until: datetime | None = None  # by temporary rules with the requested verb
    for rule in policy.rules:
        verb = rule.verb(request.direction)
        if verb is None or rule.has_ended_at(now):
            continue
        overlap = request.subject.overlap_with(rule.guest)
        if overlap is Overlap.NONE:
            continue
        if verb is not request.verb:
            if covered_until is not None and rule.ends is not None and rule.ends <= covered_until:
                continue
            if overlap is Overlap.ALL:
                return Outcome(None, rule, tuple(exceptions))
            exceptions.append(rule)
        elif overlap is Overlap.ALL:
            if rule.is_permanent or not request.permanent:
                return Outcome(rule, None, tuple(exceptions))
            if rule.is_active_at(now) and not rule.once:
                ends = rule.ends or now
                covered_until = max(covered_until or ends, ends)
    return Outcome(None, None, tuple(exceptions))


def permanent_limits(policy: Policy, subject: Subject, direction: Direction) -> Options:
    """The limits that apply permanently to the whole subject. A new verb must not remove them."""
    for rule in policy.rules:
        if rule.verb(direction) is None or not rule.is_permanent:
            continue
        if subject.overlap_with(rule.guest) is Overlap.ALL:
            return rule.options
    return NO_OPTIONS
