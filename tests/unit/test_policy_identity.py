"""Rules for a UUID, tag or label: which guests they match, and what happens if it is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.engine import Role, decide, explain, gives_device
from policy.language.loader import parse
from policy.matching import CLASSES, GuestIdentity, applies_to, find_mistake, quote
from policy.model import Direction, Policy, Verb

CAPTURE = Direction.CAPTURE
FILE = Path("30-user.yaml")
UUID = "0a1b2c3d-0000-4000-8000-0123456789ab"
OTHER = "ffffffff-0000-4000-8000-0123456789ab"
NOT_ONE = "which is not uuid:, tag:, label:, class:, template: or dispvm-of:"
WORK = GuestIdentity(
    "work",
    UUID,
    "blue",
    frozenset({"calls", "office"}),
    qube_class="DispVM",
    template="whonix-workstation-17",
    dispvm_of="whonix-dvm",
)
PLAIN = GuestIdentity(
    "plain", OTHER, "", frozenset(), qube_class="StandaloneVM", template="", dispvm_of=""
)
OF_QUBES = ("class:DispVM", "template:whonix-workstation-*", "dispvm-of:whonix-dvm")


def policy(*rules: str) -> Policy:
    """One rule a line, the first on line 3."""
    text = "version: 1\nrules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules)
    return Policy(parse(text.encode(), FILE), (FILE,))


@pytest.mark.parametrize(
    "pattern",
    [
        *("work", "w*", f"uuid:{UUID}", "tag:calls", "tag:office", "label:blue"),
        *OF_QUBES,
        *("template:whonix-workstation-17", "template:*", "dispvm-of:*-dvm"),
    ],
)
def test_guest_is_matched_by_each_kind_of_pattern(pattern: str) -> None:
    one = policy(f"guest: '{pattern}', capture: allow")
    assert decide(one, WORK, CAPTURE).verb is Verb.ALLOW
    assert decide(one, PLAIN, CAPTURE).verb is Verb.DENY
    assert (applies_to(pattern, WORK), applies_to(pattern, PLAIN)) == (True, False)


def test_first_rule_decides_whatever_its_kind() -> None:
    rules = policy(
        "guest: tag:other, capture: deny",
        "guest: label:blue, capture: ask",
        "guest: work, capture: allow",
        f"guest: uuid:{UUID}, capture: deny",
    )
    assert decide(rules, WORK, CAPTURE).source == "30-user.yaml:4"


def test_uuid_of_a_guest_may_be_in_capitals() -> None:
    one = policy(f"guest: uuid:{UUID}, capture: allow")
    assert decide(one, GuestIdentity("work", UUID.upper()), CAPTURE).verb is Verb.ALLOW


def test_guest_that_is_named_like_a_tag_does_not_have_it() -> None:
    one = policy("guest: tag:calls, capture: allow", "guest: '*', capture: deny")
    assert decide(one, GuestIdentity("tag:calls", UUID, "", frozenset()), CAPTURE).verb is Verb.DENY


@pytest.mark.parametrize("pattern", [f"uuid:{UUID}", "tag:calls", "label:blue", *OF_QUBES])
@pytest.mark.parametrize("verb", ["deny", "ask"])
def test_rule_that_might_match_denies(pattern: str, verb: str) -> None:
    rules = policy(f"guest: {pattern}, capture: {verb}", "guest: '*', capture: allow")
    decision = decide(rules, "work", CAPTURE)
    kind = pattern.partition(":")[0]
    assert (decision.verb, decision.source) == (Verb.DENY, "30-user.yaml:3")
    assert decision.reason == (
        f"the guest's {kind} is not known, so this rule might match: "
        f"guest: {quote(pattern)}, capture: {verb}"
    )


@pytest.mark.parametrize("pattern", [f"uuid:{UUID}", "tag:calls", "label:blue", *OF_QUBES])
def test_rule_that_might_match_does_not_allow(pattern: str) -> None:
    rules = policy(f"guest: {pattern}, capture: allow", "guest: '*', capture: deny")
    assert decide(rules, "work", CAPTURE).source == "30-user.yaml:4"


def test_rule_above_one_that_might_match_still_decides() -> None:
    rules = policy("guest: work, capture: allow", "guest: tag:calls, capture: deny")
    assert decide(rules, "work", CAPTURE).verb is Verb.ALLOW


def test_empty_uuid_means_not_known() -> None:
    rules = policy(f"guest: uuid:{UUID}, capture: deny", "guest: '*', capture: allow")
    assert decide(rules, GuestIdentity("work", ""), CAPTURE).verb is Verb.DENY


def test_explanation_shows_what_is_not_known() -> None:
    rules = policy(
        "guest: label:blue, capture: allow",
        "guest: tag:calls, capture: ask",
        "guest: '*', capture: allow",
    )
    parts = explain(rules, "work", CAPTURE).roles
    assert [(rule.line, part) for rule, part in parts] == [
        (3, Role.UNKNOWN_ALLOW),
        (4, Role.UNKNOWN_DENY),
        (5, Role.TOO_LATE),
    ]
    assert explain(rules, WORK, CAPTURE).roles[0][1] is Role.DECIDES


def test_asking_gives_a_device() -> None:
    assert gives_device(policy("guest: work, capture: ask"), WORK) == set(Direction)


def test_decision_has_the_limits_of_the_rule_that_decides_only() -> None:
    rules = policy(
        "guest: work, playback: allow, max-streams: 1",
        "guest: '*', playback: allow, capture: deny, max-volume: 50%, on-deny: refuse",
    )
    assert decide(rules, WORK, Direction.PLAYBACK).options.fields == {"max-streams": "1"}
    assert decide(rules, WORK, CAPTURE).options.fields == {
        "max-volume": "50%",
        "on-deny": "refuse",
    }
    assert decide(policy("guest: x, capture: deny"), WORK, CAPTURE).options.fields == {}


@pytest.mark.parametrize(
    ("guest", "wrong"),
    [
        ("tga:x", f"starts with tga:, {NOT_ONE}; did you mean tag:?"),
        ("Tag:x", f"starts with Tag:, {NOT_ONE}; did you mean tag:?"),
        ("hue:red", f"starts with hue:, {NOT_ONE}; write [:] for a colon in a name"),
        ("tag:", "may only have letters, digits, '_', '-' and '.' after tag:"),
        ("tag:work-*", "may only have letters, digits, '_', '-' and '.' after tag:"),
        ("label: red", "may only have letters, digits, '_', '-' and '.' after label:"),
        ("uuid:1234", "is not uuid: and 8-4-4-4-12 hexadecimal digits in lower case"),
        ("class:DispVm", f"is not class: and one of {', '.join(CLASSES)}"),
        ("dispvm_of:x", f"starts with dispvm_of:, {NOT_ONE}; did you mean dispvm-of:?"),
        ("template:a b", "may only have letters, digits, '_', '-' and '.' after template:"),
        (f"uuid:{UUID.upper()}", "is not uuid: and 8-4-4-4-12 hexadecimal digits in lower case"),
    ],
)  # fmt: skip
def test_unknown_kind_or_invalid_value_is_refused(guest: str, wrong: str) -> None:
    assert find_mistake(guest) == wrong


def test_name_with_a_colon_is_matched_by_a_glob() -> None:
    assert find_mistake("a[:]b") is None
    assert decide(policy("guest: 'a[:]b', capture: allow"), "a:b", CAPTURE).verb is Verb.ALLOW
