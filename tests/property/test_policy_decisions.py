"""The index decides as a plain walk does; the text of a rule is that rule; the last edit wins."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.edit import grants
from policy.edit.editor import EditContext, grant, set_verb
from policy.engine import decide, explain, next_change
from policy.language.loader import load, parse
from policy.matching import GuestIdentity, applies_to, covers, matches
from policy.model import Direction, OnDeny, Options, Policy, Rule, Verb
from policy.paths import GRANTS_FILE, PolicyPaths
from xensnd.sndif.formats import PLAYABLE

FILE = Path("30-user.yaml")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UUID = "0a1b2c3d-0000-4000-8000-0123456789ab"

names = st.text("ab-", min_size=1, max_size=5)
globs = st.text("ab-*?[]!", min_size=1, max_size=6)
patterns = st.one_of(
    globs, st.sampled_from([f"uuid:{UUID}", "tag:x", "tag:y", "label:red", "label:blue"])
)
verbs = st.sampled_from(Verb)
hours = st.none() | st.integers(-3, 3).map(lambda number: NOON + number * HOUR)
streams = st.sampled_from([None, None, "1", "2"])
guests = st.builds(
    GuestIdentity,
    names,
    st.sampled_from([None, UUID, "ffffffff-0000-4000-8000-0123456789ab"]),
    st.sampled_from([None, "", "red", "blue"]),
    st.none() | st.frozensets(st.sampled_from(["x", "y"])),
)
rules = st.builds(
    lambda guest, verb, starts, ends, stream: Rule(
        guest, None, verb, FILE, 1, 1, Options(), starts, ends, stream is not None, stream
    ),
    patterns, verbs, hours, hours, streams,
)  # fmt: skip


def walk(
    rules: Sequence[Rule], guest: GuestIdentity, now: datetime, stream: str | None
) -> Rule | None:
    for rule in rules:
        known = applies_to(rule.guest, guest)
        if known is False or not rule.is_active_at(now) or rule.taken_by not in (None, stream):
            continue
        if known is True or rule.capture is not Verb.ALLOW:
            return rule
    return None


@settings(max_examples=400)
@given(st.lists(rules, max_size=8), guests, st.integers(-4, 4), streams)
def test_indexed_decision_is_the_first_match_of_a_plain_walk(
    listed: list[Rule], guest: GuestIdentity, hour: int, stream: str | None
) -> None:
    policy, now = Policy(tuple(listed), ()), NOON + hour * HOUR
    decision = decide(policy, guest, Direction.CAPTURE, now, stream)
    expected = walk(listed, guest, now, stream)
    assert decision.rule is expected
    if expected is not None:
        unknown = applies_to(expected.guest, guest) is None
        assert decision.verb is (Verb.DENY if unknown else expected.capture)


@settings(max_examples=200)
@given(st.lists(rules, max_size=6), guests, st.integers(-4, 4))
def test_nothing_changes_before_the_next_change(
    listed: list[Rule], guest: GuestIdentity, hour: int
) -> None:
    policy, now = Policy(tuple(listed), ()), NOON + hour * HOUR
    following = next_change(policy, now)
    until = following or now + 1000 * HOUR
    decision = decide(policy, guest, Direction.CAPTURE, now)
    assert decide(policy, guest, Direction.CAPTURE, until - timedelta.resolution) == decision
    assert following is None or following > now


@settings(max_examples=200)
@given(st.lists(rules, max_size=6), guests, st.integers(-4, 4))
def test_explanation_names_the_rule_that_decides(
    listed: list[Rule], guest: GuestIdentity, hour: int
) -> None:
    explanation = explain(Policy(tuple(listed), ()), guest, Direction.CAPTURE, NOON + hour * HOUR)
    deciding = [rule for rule, role in explanation.roles if role.startswith(("decides", "denies"))]
    assert deciding == ([explanation.decision.rule] if explanation.decision.rule else [])


rates = st.lists(st.integers(1000, 768_000), min_size=1, max_size=5, unique=True).map(tuple)
options = st.builds(
    Options,
    max_volume_percent=st.none() | st.integers(1, 100),
    on_deny=st.sampled_from(OnDeny),
    device=st.none()
    | st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:-]{0,20}[a-z]", fullmatch=True).filter(
        lambda name: not name.endswith(".monitor")
    ),
    formats=st.none() | st.lists(st.sampled_from(PLAYABLE), min_size=1, unique=True).map(tuple),
    rates_hz=st.none() | rates,
    max_streams=st.none() | st.integers(1, 64),
    max_buffer_octets=st.none() | st.integers(1 << 10, 16 << 20),
    max_memory_octets=st.none() | st.integers(1 << 10, 16 << 20),
    budget_percent=st.none() | st.integers(10, 1000),
    latency_usec=st.none() | st.integers(1_000, 2_000_000),
)


@settings(max_examples=200)
@given(patterns, verbs, options, hours, st.integers(1, 10**7), streams)
def test_text_of_any_rule_reads_as_the_rule(
    guest: str, verb: Verb, limits: Options, starts: datetime | None, seconds: int,
    stream: str | None,
) -> None:  # fmt: skip
    ends = (starts or NOON) + timedelta(seconds=seconds)
    rule = Rule(guest, None, verb, FILE, 4, 6, limits, starts, ends, stream is not None, stream)
    octets = f"version: 1\nrules:\n  # below\n  - {{{rule.text}}}\n".encode()
    (read,) = parse(octets, FILE, are_grants=True)
    assert (read.fields, read.options, read.starts, read.ends) == (
        rule.fields, limits, starts, ends
    )  # fmt: skip
    assert parse(grants.to_octets([rule, rule]), FILE, are_grants=True)[1].fields == rule.fields


NAMES = ["work", "work-1", "mail"]
requests = st.tuples(
    st.sampled_from([*NAMES, "*", "work*", "*-1", "tag:x"]),
    verbs,
    st.none() | st.integers(1, 5),  # hours; None: permanent
    st.integers(0, 2),  # hours since the last request
)


@settings(max_examples=80)
@given(st.lists(requests, min_size=1, max_size=5))
def test_last_request_applies_whatever_was_granted_before(
    made: list[tuple[str, Verb, int | None, int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, runtime, now = Path(name) / "policy.d", Path(name) / "run", NOON
        directory.mkdir(mode=0o755)
        for guest, verb, length, since in made:
            now += since * HOUR
            context = EditContext(PolicyPaths([directory], runtime), now=now)
            if length is None:
                edit = set_verb(context, guest, Direction.CAPTURE, verb)
            else:
                edit = grant(context, guest, Direction.CAPTURE, verb, now + length * HOUR)
            policy = load([directory], runtime=runtime)
            excepted = [rule.guest for rule in edit.exceptions]
            # an exception to a set is a rule in a file, never a grant
            assert not any(rule.file.name == GRANTS_FILE for rule in edit.exceptions)
            for one in (GuestIdentity(each, UUID, "", frozenset({"x"})) for each in NAMES):
                about = applies_to(guest, one) and not any(
                    applies_to(each, one) for each in excepted
                )
                assert not about or decide(policy, one, Direction.CAPTURE, now).verb is verb


@settings(max_examples=300)
@given(st.text("ab-*?", min_size=1, max_size=5), st.text("ab-*?", min_size=1, max_size=5), names)
def test_glob_that_covers_another_matches_all_its_names(outer: str, inner: str, name: str) -> None:
    if covers(outer, inner) and matches(inner, name):
        assert matches(outer, name)
