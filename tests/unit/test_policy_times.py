"""Rules with times: how times are written, when a rule is active, when a decision changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policy.engine import Role, decide, explain, gives_device, next_change
from policy.language.loader import parse
from policy.model import Direction, Policy, Rule, Verb
from xensnd.errors import PolicyError

CAPTURE = Direction.CAPTURE
FILE = Path("30-user.yaml")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An hour before UTC in winter, two in summer; the rule is spelt out, so no file is needed."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def policy(*rules: str) -> Policy:
    """One rule a line, the first on line 3."""
    text = "version: 1\nrules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules)
    return Policy(parse(text.encode(), FILE), (FILE,))


def rule(times: str) -> Rule:
    return policy(f"guest: a, capture: allow, {times}").rules[0]


def mistake(times: str) -> str:
    with pytest.raises(PolicyError) as caught:
        rule(times)
    return str(caught.value).removeprefix("30-user.yaml:3:")


ENDS = {
    "until: 2026-11-20T18:00": "2026-11-20T17:00Z",
    "until: 2026-11-20 18:00": "2026-11-20T17:00Z",
    "until: 2026-07-20T18:00:30": "2026-07-20T16:00:30Z",
    "until: 2026-11-20T18:00Z": "2026-11-20T18:00Z",
    "until: '2026-11-20T18:00-05:00'": "2026-11-20T23:00Z",
    "from: 2026-11-20T17:30, until: 18:00": "2026-11-20T17:00Z",
    "from: 2026-11-20T18:00, until: 18:00": "2026-11-21T17:00Z",
    "from: 2026-11-20T23:50, until: 12:30": "2026-11-21T11:30Z",
    "from: 2026-11-20T18:00, for: 30m": "2026-11-20T17:30Z",
    "for: 1h30m, from: 2026-11-20T18:00": "2026-11-20T18:30Z",
    "from: 2026-11-20T18:00, for: 1d2h3m4s": "2026-11-21T19:03:04Z",
    "from: 2026-03-28T12:00, for: 24h": "2026-03-29T11:00Z",
}


@pytest.mark.parametrize(("times", "ends"), ENDS.items())
def test_end_is_read_from_its_text(times: str, ends: str) -> None:
    assert rule(times).ends == datetime.fromisoformat(ends)


def test_time_of_day_that_clocks_skip_is_moved_by_at_most_an_hour() -> None:
    """From two to three, that night."""
    ends = rule("from: 2026-03-28T12:00, until: 02:30").ends
    assert ends is not None
    assert abs(ends - datetime.fromisoformat("2026-03-29T01:00Z")) <= 30 * MINUTE


MOMENT = "(write such as 2026-11-20T18:00; without Z or +01:00 at the end it is local time)"
LENGTH = "(write such as 30m, 2h or 1h30m; the units are d, h, m and s, in this order)"
WRONG = {
    "until: 18:00": "37: until: '18:00' is a time without a date "
    "(write a date too, such as 2026-11-20T18:00, or add from:)",
    "until: 750": f"37: until: '750' is not a date and time {MOMENT}",
    "until: 6pm": f"37: until: '6pm' is not a date and time {MOMENT}",
    "until: 2026-11-20": f"37: until: '2026-11-20' is not a date and time {MOMENT}",
    "until: 2026-W47-5T18:00": f"37: until: '2026-W47-5T18:00' is not a date and time {MOMENT}",
    "until: 2026-02-30T18:00": (
        f"37: until: '2026-02-30T18:00' is a date and time that does not exist {MOMENT}"
    ),
    "until: 0001-01-01T00:00+10:00": (
        f"37: until: '0001-01-01T00:00+10:00' is a date and time that does not exist {MOMENT}"
    ),
    "until: 2026-11-20T24:00": (
        f"37: until: '2026-11-20T24:00' is a date and time that does not exist {MOMENT}"
    ),
    "for: 30m": "35: for needs from: as its start "
    "(add from:, or write until: instead, or use xensnd-policy with --for)",
    "for: 30": f"35: for: '30' is not a length of time {LENGTH}",
    "for: 30m1h": f"35: for: '30m1h' is not a length of time {LENGTH}",
    "for: 0m": f"35: for: '0m' is not 1s to 365d {LENGTH}",
    "for: 366d": f"35: for: '366d' is not 1s to 365d {LENGTH}",
    "from: 9999-12-31T00:00Z, for: 30d": (
        "60: for: ends after the last date that exists (write an earlier from:)"
    ),
    "from: 2026-11-20T18:00, for: 30m, until: 19:00": (
        "59: until and for both set the end (remove one)"
    ),
    "from: 2026-11-20T18:00, until: 2026-11-20T18:00": (
        "61: until: '2026-11-20T18:00' is not after from (write a later time)"
    ),
    "from: 18:00": "36: from: '18:00' is a time without a date "
    "(write a date too, such as 2026-11-20T18:00, or add from:)",
}


@pytest.mark.parametrize(("times", "message"), WRONG.items())
def test_wrong_time_is_reported(times: str, message: str) -> None:
    assert mistake(times) == message


def test_text_of_the_rule_says_when_it_ends_whichever_way_it_was_written() -> None:
    assert rule("from: 2026-11-20T18:00, for: 90s").text == (
        "guest: a, capture: allow, from: 2026-11-20T18:00+01:00, until: 2026-11-20T18:01:30+01:00"
    )


TIMED = policy(
    "guest: a, capture: allow, from: 2026-11-20T12:00Z, until: 2026-11-20T12:30Z",
    "guest: b, capture: ask, until: 2026-11-20T14:00Z",
    "guest: '*', capture: deny",
)


@pytest.mark.parametrize(
    ("now", "verb"),
    [
        (NOON - timedelta(microseconds=1), Verb.DENY),
        (NOON, Verb.ALLOW),
        (NOON + 30 * MINUTE - timedelta(microseconds=1), Verb.ALLOW),
        (NOON + 30 * MINUTE, Verb.DENY),
    ],
)
def test_rule_is_active_from_its_start_to_just_before_its_end(now: datetime, verb: Verb) -> None:
    assert decide(TIMED, "a", CAPTURE, now).verb is verb


def test_next_change_is_the_next_start_or_end_of_any_rule() -> None:
    now = NOON - 60 * MINUTE
    found = []
    while (following := next_change(TIMED, now)) is not None:
        found.append(following)
        now = following
    assert found == [NOON, NOON + 30 * MINUTE, NOON + 120 * MINUTE]


def test_policy_without_times_never_changes() -> None:
    assert next_change(policy("guest: a, capture: allow"), NOON) is None


def test_current_time_is_used_if_none_is_given() -> None:
    later = (datetime.now(UTC) + 60 * MINUTE).isoformat(timespec="seconds")
    earlier = (datetime.now(UTC) - 60 * MINUTE).isoformat(timespec="seconds")
    assert decide(policy(f"guest: a, capture: allow, until: {later}"), "a", CAPTURE).verb == "allow"
    assert decide(policy(f"guest: a, capture: allow, until: {earlier}"), "a", CAPTURE).rule is None


def test_card_appears_and_disappears_with_time() -> None:
    assert gives_device(TIMED, "a", NOON) == set(Direction)
    assert gives_device(TIMED, "a", NOON + 30 * MINUTE) == set()


def test_explanation_shows_rules_that_have_ended_or_are_not_active_yet() -> None:
    for now, part in ((NOON - MINUTE, Role.NOT_YET), (NOON + 30 * MINUTE, Role.ENDED)):
        parts = explain(TIMED, "a", CAPTURE, now).roles
        assert [(rule.line, part) for rule, part in parts] == [(3, part), (5, Role.DECIDES)]
