"""The policy in use: its files, the clock, grants, and what fails closed around them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import Event, EventKind
from agent_dom0.guest import RunningGuest
from policy.edit import editor
from policy.model import Direction, Verb
from policy.paths import PolicyPaths

CAPTURE, PLAYBACK = Direction.CAPTURE, Direction.PLAYBACK
WORK = RunningGuest(7, "work", "0a1b2c3d-0000-4000-8000-0123456789ab", "blue")
ASK = "version: 1\nrules:\n  - {guest: '*', playback: allow, capture: ask}\n"


class Trail:
    """An audit trail in memory, that may break."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_broken = False

    def write(self, event: Event) -> None:
        if self.is_broken:
            raise OSError(28, "No space left on device")
        self.events.append(event)

    def describe(self) -> str:
        return "memory"

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events if event.kind is not EventKind.POLICY_LOADED]


class Queue(DecisionQueue):
    """Notes why it was asked to decide anew, and does not."""

    def __init__(self) -> None:
        super().__init__(lambda _reasons: None)
        self.reasons: list[Reason] = []

    def reconsider(self, reason: Reason) -> None:
        self.reasons.append(reason)


class Place:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "policy.d"
        self.directory.mkdir()
        self.file = self.directory / "30-user.yaml"
        self.runtime = directory / "grants"
        self.now = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.trail = Trail()
        self.audit = AuditTrail(self.trail)
        self.queue = Queue()
        self.sources = PolicyPaths([self.directory], self.runtime)
        self.policy = PolicyState(self.sources, self.audit, self.queue, now=lambda: self.now)

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o644)

    def use(self, text: str) -> None:
        self.write(text)
        self.policy.load()

    def verb(self, direction: Direction = CAPTURE, stream: str | None = None) -> Verb:
        return self.policy.decide(WORK, direction, stream).verb


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_bad_policy_denies_capture_and_keeps_playback(place: Place) -> None:
    place.use(ASK.replace("ask", "allow"))
    place.use("version: 1\nrules: [7]\n")
    decision = place.policy.decide(WORK, CAPTURE)
    assert decision.verb is Verb.DENY
    assert decision.reason.startswith(f"bad policy: {place.file}:2:9: ")
    assert place.verb(PLAYBACK) is Verb.ALLOW
    assert place.policy.problem is not None


def test_streams_are_decided_anew_when_the_files_say_something_else(place: Place) -> None:
    place.use(ASK)
    place.use(ASK)
    assert place.queue.reasons == [Reason.POLICY]
    place.use("version: 1\nrules: [7]\n")
    place.use(ASK)
    assert place.queue.reasons == [Reason.POLICY] * 3


def test_guest_that_shares_its_name_may_play_and_not_record(place: Place) -> None:
    place.use(ASK.replace("ask", "allow"))
    twin = replace(WORK, shares_name=True)
    decision = place.policy.decide(twin, CAPTURE)
    assert (decision.verb, decision.reason) == (
        Verb.DENY,
        "another running guest is named work as well",
    )
    assert place.policy.decide(twin, PLAYBACK).verb is Verb.ALLOW


def test_lost_trail_denies_capture(place: Place) -> None:
    place.use(ASK)
    place.trail.is_broken = True
    place.audit.append(Event(EventKind.AGENT_STARTED, "x"))
    assert place.verb() is Verb.DENY
    place.trail.is_broken = False
    place.audit.retry()
    assert place.verb() is Verb.ASK


def test_uuid_and_label_of_the_guest_are_known_and_its_tags_are_not(place: Place) -> None:
    place.use(f"version: 1\nrules:\n  - {{guest: 'uuid:{WORK.uuid}', capture: allow}}\n")
    assert place.verb() is Verb.ALLOW
    place.use("version: 1\nrules:\n  - {guest: 'label:blue', capture: allow}\n")
    assert place.verb() is Verb.ALLOW
    place.use("version: 1\nrules:\n  - {guest: 'tag:calls', capture: deny}\n" + ASK[18:])
    assert place.verb() is Verb.DENY


def test_tags_file_beside_the_policy_says_what_tags_are(place: Place) -> None:
    tags = place.directory.parent / "tags.yaml"
    tags.write_text("version: 1\nguests:\n  - {guest: work, tags: [calls]}\n")
    tags.chmod(0o644)
    place.use("version: 1\nrules:\n  - {guest: 'tag:calls', capture: allow}\n")
    assert place.verb() is Verb.ALLOW


def test_grant_begins_ends_and_is_audited(place: Place) -> None:
    place.use(ASK)
    place.policy.write_grant("work", CAPTURE, 60)
    place.policy.load()
    assert place.verb() is Verb.ALLOW
    assert place.policy.next_change() == timedelta(seconds=60)
    place.now += timedelta(seconds=60)
    place.policy.follow_time()
    assert place.verb() is Verb.ASK
    assert place.policy.next_change() is None
    assert place.trail.kinds() == [EventKind.GRANT_MADE, EventKind.GRANT_EXPIRED]


def test_grant_that_is_taken_away_is_revoked(place: Place) -> None:
    place.use(ASK)
    place.policy.write_grant("work", CAPTURE, 60)
    place.policy.load()
    place.policy.write_rule("work", CAPTURE, Verb.DENY)
    place.policy.load()
    assert place.verb() is Verb.DENY
    assert place.trail.kinds() == [EventKind.GRANT_MADE, EventKind.GRANT_REVOKED]


def grant_once(place: Place) -> None:
    context = editor.EditContext(place.sources, now=place.now)
    editor.grant(context, "work", CAPTURE, Verb.ALLOW, place.now + timedelta(hours=1), once=True)
    place.policy.load()


def test_grant_for_one_stream_is_for_the_first_that_takes_it(place: Place) -> None:
    place.use(ASK)
    grant_once(place)
    assert place.policy.take(WORK, CAPTURE, "7/0/1").verb is Verb.ALLOW
    assert place.policy.take(WORK, CAPTURE, "7/0/2").verb is Verb.ASK
    assert place.verb(stream="7/0/1") is Verb.ALLOW
    place.policy.release("7/0/1")
    assert place.policy.take(WORK, CAPTURE, "7/0/1").verb is Verb.ASK
    assert place.trail.kinds() == [EventKind.GRANT_MADE, EventKind.GRANT_EXPIRED]


def test_agent_that_starts_uses_up_what_streams_had_that_are_gone(place: Place) -> None:
    place.use(ASK)
    grant_once(place)
    place.policy.take(WORK, CAPTURE, "7/0/1")
    place.policy.release_others(["7/0/1"])
    assert place.verb(stream="7/0/1") is Verb.ALLOW
    place.policy.release_others([])
    assert place.verb(stream="7/0/1") is Verb.ASK


def test_grant_that_cannot_be_released_is_nobodys(place: Place) -> None:
    place.use(ASK)
    grant_once(place)
    place.policy.take(WORK, CAPTURE, "7/0/1")
    good = (place.runtime / "00-grants.yaml").read_bytes()
    (place.runtime / "00-grants.yaml").write_bytes(b"nonsense")
    place.policy.release("7/0/1")
    (place.runtime / "00-grants.yaml").write_bytes(good)
    place.policy.load()
    assert place.policy.take(WORK, CAPTURE, "7/0/1").verb is Verb.ASK
