"""The decision for one guest and direction. Pure: the same question and time, the same answer.

`now` must have a time zone; without it, it is the current time. Decisions and indices are cached,
since a policy never changes: files that change become a new policy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from policy.matching import (
    PREFIXES,
    GuestIdentity,
    Kind,
    applies_to,
    is_glob,
    literal_end,
    literal_start,
    split_kind,
)
from policy.model import Decision, Direction, Policy, Rule, Verb

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def decide(
    policy: Policy,
    guest: GuestIdentity | str,
    direction: Direction,
    now: datetime | None = None,
    stream: str | None = None,
) -> Decision:
    """The first active rule that matches the guest and names the direction decides; else deny.

    A guest given as a string is known by its name only. Where it is not known whether a rule
    matches, the rule denies, unless its verb is allow: then it is skipped. `stream` is the stream
    that asks: a grant that a stream has taken counts for that stream only.
    """
    guest = GuestIdentity(guest) if isinstance(guest, str) else guest
    if stream is not None and stream not in _streams_with_grants(policy):
        stream = None
    return _decision(policy, guest, direction, _interval(policy, now), stream)


def gives_device(
    policy: Policy, guest: GuestIdentity | str, now: datetime | None = None
) -> frozenset[Direction]:
    """The directions that the guest's card has; empty: the guest has no card.

    The card has both as soon as one is not denied: a card cannot change while it is in use, and a
    denied direction runs in silence, so that it can go live as soon as it is allowed.
    """
    verbs = (decide(policy, guest, direction, now).verb for direction in Direction)
    return frozenset(Direction) if any(verb is not Verb.DENY for verb in verbs) else frozenset()


def next_change(policy: Policy, now: datetime) -> datetime | None:
    """The first time after now at which a rule becomes active or ends; None: there is none."""
    times = _change_times(policy)
    index = bisect_right(times, now)
    return times[index] if index < len(times) else None


class Role(StrEnum):
    """What a rule that matches the guest, or might match it, does in the decision."""

    NO_VERB = "skipped: it does not name this direction"
    ENDED = "skipped: it has ended"
    NOT_YET = "skipped: it is not active yet"
    TAKEN = "skipped: one stream uses it"
    UNKNOWN_ALLOW = "skipped: it allows, and it is not known whether it matches"
    UNKNOWN_DENY = "denies: it does not allow, and it is not known whether it matches"
    DECIDES = "decides: the first rule that matches and names this direction"
    TOO_LATE = "not checked: a rule above decides"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, and the role of each rule that matches or might match, in order."""

    decision: Decision
    roles: tuple[tuple[Rule, Role], ...]


def explain(
    policy: Policy, guest: GuestIdentity | str, direction: Direction, now: datetime | None = None
) -> Explanation:
    guest = GuestIdentity(guest) if isinstance(guest, str) else guest
    now = now or datetime.now(UTC)
    roles: list[tuple[Rule, Role]] = []
    is_decided = False
    for rule in policy.rules:
        matches = applies_to(rule.guest, guest)
        if matches is not False:
            role = Role.TOO_LATE if is_decided else _role(rule, matches, direction, now)
            is_decided = is_decided or role in (Role.DECIDES, Role.UNKNOWN_DENY)
            roles.append((rule, role))
    return Explanation(decide(policy, guest, direction, now), tuple(roles))


def _role(rule: Rule, matches: bool | None, direction: Direction, now: datetime) -> Role:
    verb = rule.verb(direction)
    if verb is None:
        return Role.NO_VERB
    if not rule.is_active_at(now):
        return Role.ENDED if rule.has_ended_at(now) else Role.NOT_YET
    if rule.taken_by is not None:
        return Role.TAKEN
    if matches is None:
        return Role.UNKNOWN_ALLOW if verb is Verb.ALLOW else Role.UNKNOWN_DENY
    return Role.DECIDES


_Numbered = tuple[int, Rule]  # a rule and its number in the order
_Ends = tuple[str, str]  # how a name must start and end


@dataclass(frozen=True, slots=True)
class _Index:
    """The active rules that name one direction, to be looked up instead of walked."""

    exact: dict[tuple[Kind, str], _Numbered]  # the first rule of each name, uuid, tag and so on
    not_allowing: dict[Kind, _Numbered]  # the first of each kind, for what is not known
    globs: dict[_Ends, list[_Numbered]]  # of names
    lengths: tuple[tuple[int, int], ...]  # of the ends of the globs
    other_globs: dict[Kind, list[_Numbered]]  # such as of templates


@lru_cache(maxsize=16)
def _index(policy: Policy, direction: Direction, interval: int, stream: str | None) -> _Index:
    now = _change_times(policy)[interval - 1] if interval else _BEFORE_ALL
    exact: dict[tuple[Kind, str], _Numbered] = {}
    not_allowing: dict[Kind, _Numbered] = {}
    globs: dict[_Ends, list[_Numbered]] = {}
    other_globs: dict[Kind, list[_Numbered]] = {}
    for number, rule in enumerate(policy.rules):
        verb = rule.verb(direction)
        if verb is None or not rule.is_active_at(now) or rule.taken_by not in (None, stream):
            continue
        kind, value = split_kind(rule.guest)
        if kind is Kind.GLOB:
            ends = literal_start(value), literal_end(value)
            globs.setdefault(ends, []).append((number, rule))
            continue
        if kind is not Kind.NAME and is_glob(value):
            other_globs.setdefault(kind, []).append((number, rule))
        else:
            exact.setdefault((kind, value), (number, rule))
        if verb is not Verb.ALLOW:
            not_allowing.setdefault(kind, (number, rule))
    lengths = {(len(start), len(end)) for start, end in globs}
    return _Index(exact, not_allowing, globs, tuple(sorted(lengths)), other_globs)


@lru_cache(maxsize=4096)  # a few hundred guests, two directions, the last few policies
def _decision(
    policy: Policy, guest: GuestIdentity, direction: Direction, interval: int, stream: str | None
) -> Decision:
    if not guest.name or not guest.name.isprintable():
        return Decision(Verb.DENY, None, "the guest has no printable name")
    index = _index(policy, direction, interval, stream)
    candidates = (each for each in _candidates(index, guest) if each is not None)
    _, rule = min(candidates, key=lambda each: each[0], default=(0, None))
    verb = None if rule is None else rule.verb(direction)
    if rule is None or verb is None:
        return Decision(Verb.DENY, None, f"no rule matches and names {direction}")
    if applies_to(rule.guest, guest) is None:
        kind = split_kind(rule.guest)[0]
        reason = f"the guest's {kind} is not known, so this rule might match: {rule.text}"
        return Decision(Verb.DENY, rule, reason)
    return Decision(verb, rule, f"first rule that matches and names {direction}: {rule.text}")


def _candidates(index: _Index, guest: GuestIdentity) -> Iterator[_Numbered | None]:
    """For each kind of pattern, the first rule that could decide."""
    yield index.exact.get((Kind.NAME, guest.name))
    for kind in PREFIXES:
        values = guest.values(kind)
        if values is None:
            yield index.not_allowing.get(kind)
            continue
        for value in values:
            yield index.exact.get((kind, value))
        of_globs = index.other_globs.get(kind, ())
        yield next((each for each in of_globs if applies_to(each[1].guest, guest)), None)
    name = guest.name
    for start, end in index.lengths:
        for number, rule in index.globs.get((name[:start], name[len(name) - end :]), ()):
            if fnmatchcase(name, rule.guest):
                yield number, rule
                break


@lru_cache(maxsize=16)
def _change_times(policy: Policy) -> tuple[datetime, ...]:
    """The times at which a rule becomes active or ends. Between two of them nothing changes."""
    times = (time for rule in policy.rules for time in (rule.starts, rule.ends))
    return tuple(sorted({time for time in times if time is not None}))


def _interval(policy: Policy, now: datetime | None) -> int:
    """Return how many of the change times have passed."""
    times = _change_times(policy)
    return bisect_right(times, now or datetime.now(UTC)) if times else 0


@lru_cache(maxsize=16)
def _streams_with_grants(policy: Policy) -> frozenset[str]:
    return frozenset(rule.taken_by for rule in policy.rules if rule.taken_by is not None)
