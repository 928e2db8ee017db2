"""What other rules leave of an edit, for all guests that its pattern matches."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from policy.edit.conflicts import (
    EditRequest,
    Outcome,
    Overlap,
    Subject,
    outcome_of,
    permanent_limits,
)
from policy.language.identities import Entry, TagsFile
from policy.language.loader import parse
from policy.matching import GuestIdentity
from policy.model import Direction, Policy, Verb

FILE = Path("30-user.yaml")
CAPTURE = Direction.CAPTURE
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
UUID = "uuid:0a1b2c3d-0000-4000-8000-0123456789ab"
OTHER = "uuid:ffffffff-0000-4000-8000-0123456789ab"


def policy(*rules: str) -> Policy:
    """One rule a line, the first on line 3."""
    text = "version: 1\nrules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules)
    return Policy(parse(text.encode(), FILE), (FILE,))


def of(guest: str, verb: Verb, *rules: str) -> Outcome:
    return outcome_of(policy(*rules), EditRequest(Subject.of(guest), CAPTURE, verb), NOON)


@pytest.mark.parametrize(
    ("subject", "pattern", "overlap"),
    [
        ("work", "work", Overlap.ALL),
        ("work", "w*", Overlap.ALL),
        ("work", "home", Overlap.NONE),
        ("work", "tag:x", Overlap.SOME),
        ("work", UUID, Overlap.SOME),
        ("w*", "*", Overlap.ALL),
        ("w*", "work", Overlap.SOME),
        ("w*", "home", Overlap.NONE),
        ("w*", "*k", Overlap.SOME),
        ("w*", "label:red", Overlap.SOME),
        ("tag:x", "**", Overlap.ALL),
        ("tag:x", "tag:y", Overlap.SOME),
        ("label:red", "label:blue", Overlap.NONE),
        (UUID, OTHER, Overlap.NONE),
        (UUID, "work", Overlap.SOME),
        (UUID, "w*", Overlap.SOME),
    ],
)
def test_pattern_matches_all_some_or_none_of_a_subject(
    subject: str, pattern: str, overlap: Overlap
) -> None:
    assert Subject.of(subject).overlap_with(pattern) is overlap


def test_known_tags_decide_whether_a_name_is_matched() -> None:
    work = Subject.of("work", TagsFile((Entry("work", None, frozenset({"x"})),)))
    assert work.identity == GuestIdentity("work", None, "", frozenset({"x"}))
    assert work.overlap_with("tag:x") is Overlap.ALL
    assert work.overlap_with("tag:y") is Overlap.NONE


def test_set_is_decided_by_the_first_rule_that_covers_all_of_it() -> None:
    outcome = of("work-*", Verb.DENY, "guest: work-a, capture: allow", "guest: '*', capture: deny")
    assert outcome.rule is not None
    assert outcome.rule.line == 4
    assert [rule.guest for rule in outcome.exceptions] == ["work-a"]


def test_exceptions_are_the_rules_above_with_another_verb() -> None:
    outcome = of(
        "work-*",
        Verb.DENY,
        "guest: work-mail, capture: allow",
        "guest: home, capture: allow",
        "guest: work-x, capture: deny",
        "guest: 'wo*-y', capture: ask",
        "guest: tag:calls, capture: allow",
        "guest: 'work-*', capture: deny",
    )
    assert [rule.guest for rule in outcome.exceptions] == ["work-mail", "wo*-y", "tag:calls"]


def test_rule_with_another_verb_for_all_overrides_even_if_it_starts_later() -> None:
    outcome = of("work", Verb.DENY, "guest: '*', capture: allow, from: 2027-01-01T00:00Z")
    assert outcome.overriding is not None


def test_rule_that_has_ended_is_ignored() -> None:
    assert of("work", Verb.DENY, "guest: '*', capture: allow, until: 2026-11-20T12:00Z") == (
        Outcome(None, None, ())
    )


def test_rule_that_ends_does_not_fulfil_a_permanent_request() -> None:
    assert (
        of("work", Verb.DENY, "guest: work, capture: deny, until: 2027-01-01T00:00Z").rule is None
    )


def test_temporary_rule_cancels_an_opposite_one_that_ends_no_later() -> None:
    rules = (
        "guest: work, capture: deny, until: 2027-01-01T00:00Z",
        "guest: '*', capture: allow, until: 2027-01-01T00:00Z",
        "guest: '*', capture: deny",
    )
    outcome = of("work", Verb.DENY, *rules)
    assert outcome.rule is not None
    assert outcome.rule.line == 5
    longer = rules[1].replace("2027-01-01T00:00", "2027-01-01T00:01")
    assert of("work", Verb.DENY, rules[0], longer, rules[2]).rule is None


def test_limits_are_those_of_the_first_permanent_rule_that_covers_all() -> None:
    rules = policy(
        "guest: work, capture: deny, max-streams: 1, until: 2027-01-01T00:00Z",
        "guest: tag:x, capture: allow, max-streams: 2",
        "guest: 'w*', capture: allow, max-streams: 3",
        "guest: '*', capture: deny, max-streams: 4",
    )
    for guest, streams in (("work", 3), ("home", 4), ("tag:x", 2), ("tag:y", 4)):
        assert permanent_limits(rules, Subject.of(guest), CAPTURE).max_streams == streams
    assert permanent_limits(rules, Subject.of("work"), Direction.PLAYBACK).max_streams is None
