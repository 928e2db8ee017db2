"""What a policy says of a guest. Pure: no I/O; the same question at the same time, one answer.

`now` is aware of its time zone. Where none is given, it is now.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from policy.matching import Guest, Kind, kind_of, literal_end, literal_start, speaks_of
from policy.model import Decision, Direction, Policy, Rule, Verb

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def decide(
    policy: Policy,
    guest: Guest | str,
    direction: Direction,
    now: datetime | None = None,
    stream: str | None = None,
) -> Decision:
    """The first rule that holds now, matches the guest and speaks of the direction; none: denied.

    Of a guest given by its name, nothing else is known. A rule that goes by what is not known of
    the guest might match: it denies, unless it would allow; then it is passed over. `stream` is
    the stream that is asked for: a grant that one stream has taken is for that one alone.
    """
    guest = Guest(guest) if isinstance(guest, str) else guest
    if stream is not None and stream not in _taken(policy):
        stream = None
    return _decision(policy, guest, direction, _epoch(policy, now), stream)


def gives_device(
    policy: Policy, guest: Guest | str, now: datetime | None = None
) -> frozenset[Direction]:
    """Which directions the guest's card should have; none: no card.

    Both, as soon as one is allowed: a card cannot grow while it is in use, and a denied direction
    ticks in silence so that it can go live the moment it is allowed.
    """
    verbs = (decide(policy, guest, direction, now).verb for direction in Direction)
    return frozenset(Direction) if any(verb is not Verb.DENY for verb in verbs) else frozenset()


def next_change(policy: Policy, now: datetime) -> datetime | None:
    """The first instant after now at which a rule begins or ends to hold; None: nothing will."""
    instants = _instants(policy)
    at = bisect_right(instants, now)
    return instants[at] if at < len(instants) else None


class Part(StrEnum):
    """What part a rule that matches the guest, or might, has in the decision."""

    SILENT = "passed over: it does not speak of the direction"
    OVER = "passed over: its time is over"
    NOT_YET = "passed over: its time has not come"
    TAKEN = "passed over: one stream has taken it"
    UNKNOWN = "passed over: it allows, and whether it matches is not known"
    DENIES = "denies: whether it matches is not known, and it does not allow"
    DECIDES = "decides: the first that matches and speaks of the direction"
    TOO_LATE = "not asked: a rule above decides"


@dataclass(frozen=True, slots=True)
class Explanation:
    decision: Decision
    parts: tuple[tuple[Rule, Part], ...]  # every rule that matches or might, in order


def explain(
    policy: Policy, guest: Guest | str, direction: Direction, now: datetime | None = None
) -> Explanation:
    guest = Guest(guest) if isinstance(guest, str) else guest
    now = now or datetime.now(UTC)
    decision = decide(policy, guest, direction, now)
    parts: list[tuple[Rule, Part]] = []
    decided = False
    for rule in policy.rules:
        known = speaks_of(rule.guest, guest)
        if known is not False:
            part = Part.TOO_LATE if decided else _part(rule, known, direction, now)
            decided = decided or part in (Part.DECIDES, Part.DENIES)
            parts.append((rule, part))
    return Explanation(decision, tuple(parts))


def _part(rule: Rule, known: bool | None, direction: Direction, now: datetime) -> Part:
    verb = rule.verb(direction)
    if verb is None:
        return Part.SILENT
    if not rule.holds_at(now):
        return Part.OVER if rule.is_over(now) else Part.NOT_YET
    if rule.taken_by is not None:
        return Part.TAKEN
    if known is None:
        return Part.UNKNOWN if verb is Verb.ALLOW else Part.DENIES
    return Part.DECIDES


_Place = tuple[int, Rule]  # the rule's place in the order
_Ends = tuple[str, str]  # what a name must start and end with


@dataclass(frozen=True, slots=True)
class _Index:
    """The rules that hold and speak of one direction: looked up, but for globs of the same ends."""

    exact: dict[tuple[Kind, str], _Place]  # the first rule of each name, uuid, tag, label
    not_allowing: dict[Kind, _Place]  # the first of each kind, for what is not known
    globs: dict[_Ends, list[_Place]]
    lengths: tuple[tuple[int, int], ...]  # of these ends


@lru_cache(maxsize=16)
def _index(policy: Policy, direction: Direction, epoch: int, stream: str | None) -> _Index:
    now = _instants(policy)[epoch - 1] if epoch else _BEFORE_ALL
    exact: dict[tuple[Kind, str], _Place] = {}
    not_allowing: dict[Kind, _Place] = {}
    globs: dict[_Ends, list[_Place]] = {}
    for place in enumerate(policy.rules):
        rule = place[1]
        verb = rule.verb(direction)
        if verb is None or not rule.holds_at(now) or rule.taken_by not in (None, stream):
            continue
        kind, value = kind_of(rule.guest)
        if kind is Kind.GLOB:
            globs.setdefault((literal_start(value), literal_end(value)), []).append(place)
            continue
        exact.setdefault((kind, value), place)
        if verb is not Verb.ALLOW:
            not_allowing.setdefault(kind, place)
    lengths = {(len(start), len(end)) for start, end in globs}
    return _Index(exact, not_allowing, globs, tuple(sorted(lengths)))


@lru_cache(maxsize=4096)  # a few hundred guests, two directions, the policies of a while
def _decision(
    policy: Policy, guest: Guest, direction: Direction, epoch: int, stream: str | None
) -> Decision:
    if not guest.name or not guest.name.isprintable():
        return Decision(Verb.DENY, None, "the guest has no printable name")
    index = _index(policy, direction, epoch, stream)
    places = (place for place in _places(index, guest) if place is not None)
    _, rule = min(places, key=lambda place: place[0], default=(0, None))
    verb = None if rule is None else rule.verb(direction)
    if rule is None or verb is None:
        return Decision(Verb.DENY, None, f"no rule that matches speaks of {direction}")
    if speaks_of(rule.guest, guest) is None:
        kind = kind_of(rule.guest)[0]
        message = f"the guest's {kind} is not known, and a rule that might match speaks of it"
        return Decision(Verb.DENY, rule, f"{message}: {rule.text}")
    return Decision(verb, rule, f"first rule that matches and speaks of {direction}: {rule.text}")


def _places(index: _Index, guest: Guest) -> Iterator[_Place | None]:
    """The first rule of each kind that could decide."""
    yield index.exact.get((Kind.NAME, guest.name))
    if guest.uuid:
        yield index.exact.get((Kind.UUID, guest.uuid.lower()))
    else:
        yield index.not_allowing.get(Kind.UUID)
    if guest.label is not None:
        yield index.exact.get((Kind.LABEL, guest.label))
    else:
        yield index.not_allowing.get(Kind.LABEL)
    if guest.tags is not None:
        for tag in guest.tags:
            yield index.exact.get((Kind.TAG, tag))
    else:
        yield index.not_allowing.get(Kind.TAG)
    name = guest.name
    for start, end in index.lengths:
        for place in index.globs.get((name[:start], name[len(name) - end :]), ()):
            if fnmatchcase(name, place[1].guest):
                yield place
                break


@lru_cache(maxsize=16)
def _instants(policy: Policy) -> tuple[datetime, ...]:
    """Each instant at which a rule begins or ends to hold. Between two, nothing changes."""
    times = (time for rule in policy.rules for time in (rule.starts, rule.ends))
    return tuple(sorted({time for time in times if time is not None}))


def _epoch(policy: Policy, now: datetime | None) -> int:
    """How many of the instants have passed."""
    instants = _instants(policy)
    return bisect_right(instants, now or datetime.now(UTC)) if instants else 0


@lru_cache(maxsize=16)
def _taken(policy: Policy) -> frozenset[str]:
    return frozenset(rule.taken_by for rule in policy.rules if rule.taken_by is not None)
