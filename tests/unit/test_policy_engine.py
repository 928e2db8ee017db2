"""Decisions: the first rule that matches the guest and names the direction."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from policy.engine import Role, decide, explain, gives_device
from policy.language.loader import parse
from policy.matching import covers, find_mistake, may_overlap, quote
from policy.model import Direction, Policy, Verb

PLAYBACK, CAPTURE = Direction.PLAYBACK, Direction.CAPTURE
FILE = Path("/etc/xensnd/policy.d/30-user.yaml")


def policy(*rules: str) -> Policy:
    """One rule a line, the first on line 3."""
    if not rules:
        return Policy((), ())
    text = "version: 1\nrules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules)
    return Policy(parse(text.encode(), FILE), (FILE,))


MIXED = policy(
    "guest: work, playback: allow",
    "guest: 'work*', capture: deny",
    "guest: work, capture: allow",
    "guest: '*', playback: deny",
)


def test_guest_without_a_rule_is_denied() -> None:
    decision = decide(policy(), "work", CAPTURE)
    assert (decision.verb, decision.rule, decision.source) == (Verb.DENY, None, "no rule")
    assert decision.reason == "no rule matches and names capture"


def test_first_rule_that_names_the_direction_decides() -> None:
    decision = decide(MIXED, "work", CAPTURE)
    assert decision.verb is Verb.DENY
    assert decision.source == "/etc/xensnd/policy.d/30-user.yaml:4"
    assert decision.reason == (
        "first rule that matches and names capture: guest: 'work*', capture: deny"
    )


def test_rule_that_does_not_name_the_direction_is_skipped() -> None:
    assert decide(MIXED, "other", CAPTURE).source == "no rule"
    assert decide(MIXED, "other", PLAYBACK).verb is Verb.DENY


def test_exact_name_above_a_glob_wins() -> None:
    assert decide(MIXED, "work", PLAYBACK).verb is Verb.ALLOW
    assert decide(MIXED, "worker", PLAYBACK).verb is Verb.DENY


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("work-*", "work-", "work"),
        ("work-?", "work-1", "work-12"),
        ("[ab]x", "bx", "cx"),
        ("[!ab]x", "cx", "ax"),
        ("Work", "Work", "work"),
        ("a[*]", "a*", "ab"),
        ("*", "anything\u00e9 at all", ""),
    ],
)
def test_glob_matches_as_fnmatchcase(glob: str, matching: str, other: str) -> None:
    one = policy(f"guest: '{glob}', capture: allow")
    assert decide(one, matching, CAPTURE).verb is Verb.ALLOW
    assert decide(one, other, CAPTURE).verb is Verb.DENY


@pytest.mark.parametrize("guest", ["", "a\nb", "a\0", "\u202ea"])
def test_guest_without_a_printable_name_is_denied(guest: str) -> None:
    decision = decide(policy("guest: '*', capture: allow"), guest, CAPTURE)
    assert (decision.verb, decision.reason) == (Verb.DENY, "the guest has no printable name")


def test_card_has_both_directions_as_soon_as_one_is_allowed() -> None:
    one = policy("guest: '*', playback: allow, capture: deny")
    assert gives_device(one, "work") == {PLAYBACK, CAPTURE}


def test_guest_that_may_neither_play_nor_record_has_no_card() -> None:
    assert gives_device(policy("guest: '*', playback: deny, capture: deny"), "work") == set()
    assert gives_device(policy(), "work") == set()


def test_explanation_says_why_each_other_matching_rule_does_not_decide() -> None:
    explanation = explain(MIXED, "work", CAPTURE)
    assert explanation.decision == decide(MIXED, "work", CAPTURE)
    assert [(rule.line, part) for rule, part in explanation.roles] == [
        (3, Role.NO_VERB),
        (4, Role.DECIDES),
        (5, Role.TOO_LATE),
        (6, Role.TOO_LATE),
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("*", "work-*", True),
        ("work-*", "work-a*", True),
        ("work-?", "work-*", False),
        ("work-a?*", "work-a*", False),
        ("work-*", "work-?", True),
        ("work-?", "work-[ab]", True),
        ("[ab]*", "[ab]*", True),
        ("work", "work-*", False),
        ("*-x", "work-*", False),
    ],
)
def test_glob_covers_another(outer: str, inner: str, expected: bool) -> None:
    assert covers(outer, inner) is expected


def test_globs_may_overlap_unless_they_start_differently() -> None:
    assert may_overlap("work-*", "*-x")
    assert may_overlap("work-*", "work-a")
    assert not may_overlap("work-*", "home-*")
    assert not may_overlap("home", "work-*")


@pytest.mark.parametrize(
    ("guest", "text"),
    [
        ("work", "work"),
        ("work-1.x_y", "work-1.x_y"),
        ("no", "'no'"),
        ("Null", "'Null'"),
        ("12:30", "'12:30'"),
        ("*x", "'*x'"),
        ("1: b", "'1: b'"),
        ("tag:calls", "tag:calls"),
        ("label:red", "label:red"),
        ("uuid:0a1b2c3d-0000-4000-8000-0123456789ab", "uuid:0a1b2c3d-0000-4000-8000-0123456789ab"),
        ("a #b", "'a #b'"),
        ("it's", "'it''s'"),
        ("-", "'-'"),
    ],
)
def test_guest_is_quoted_where_yaml_needs_it(guest: str, text: str) -> None:
    assert find_mistake(guest) is None
    assert quote(guest) == text
    assert yaml.safe_load(quote(guest)) == guest


def test_decision_among_a_thousand_rules_takes_less_than_fifty_microseconds() -> None:
    """Of this thread's own time, so that a busy machine passes; the bench has the figure."""
    rules = [
        f"guest: '{name}', capture: deny"
        for number in range(500)
        for name in (f"guest-{number}", f"work-{number}-*")
    ]
    large = policy(*rules)
    guests = [f"guest-{number}" for number in range(0, 500, 5)]
    guests += [f"work-{number}-x" for number in range(0, 500, 5)]
    for guest in guests:
        decide(large, guest, CAPTURE)
    start = time.thread_time()
    for guest in guests:
        decide(large, guest, CAPTURE)
    assert (time.thread_time() - start) / len(guests) < 50e-6
