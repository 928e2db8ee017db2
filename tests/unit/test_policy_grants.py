"""Temporary grants: made, replaced, revoked, taken by one stream, and ended by time."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policy.edit import atomic, grants
from policy.edit.editor import Edit, EditContext, grant, set_verb
from policy.engine import decide, next_change
from policy.language.loader import load
from policy.model import Decision, Direction, Policy, Verb
from policy.paths import GRANTS_FILE, PolicyPaths
from xensnd.errors import PolicyError, UsageError

ALLOW, DENY, ASK = Verb.ALLOW, Verb.DENY, Verb.ASK
PLAYBACK, CAPTURE = Direction.PLAYBACK, Direction.CAPTURE
HEAD = "version: 1\nrules:\n"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Machine:
    """A policy directory with the shipped rule, and a runtime directory that is not there yet."""

    def __init__(self, path: Path) -> None:
        self.directory, self.runtime = path / "policy.d", path / "run" / "policy.d"
        self.directory.mkdir(mode=0o755)
        self.put("90-default.yaml", "- {guest: '*', playback: allow, capture: deny}\n")

    def put(self, name: str, rules: str) -> Path:
        path = self.directory / name
        path.write_text(HEAD + rules)
        path.chmod(0o644)
        return path

    def grant(
        self, guest: str, verb: Verb, minutes: int, *, now: datetime = NOON, once: bool = False
    ) -> Edit:
        context = EditContext(PolicyPaths([self.directory], self.runtime), now=now)
        return grant(context, guest, CAPTURE, verb, now + minutes * MINUTE, once)

    def set(self, guest: str, verb: Verb, now: datetime = NOON) -> Edit:
        return set_verb(
            EditContext(PolicyPaths([self.directory], self.runtime), now=now), guest, CAPTURE, verb
        )

    @property
    def policy(self) -> Policy:
        return load([self.directory], runtime=self.runtime)

    def decide(self, guest: str, now: datetime = NOON, stream: str | None = None) -> Decision:
        return decide(self.policy, guest, CAPTURE, now, stream)

    def verb(self, guest: str, now: datetime = NOON) -> Verb:
        return self.decide(guest, now).verb

    @property
    def grants(self) -> list[str]:
        return [f"{rule.guest} {rule.capture}" for rule in grants.read(self.runtime)]

    @property
    def grants_path(self) -> Path:
        return self.runtime / GRANTS_FILE


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_grant_applies_until_its_end_and_changes_no_other_file(machine: Machine) -> None:
    edit = machine.grant("work", ALLOW, 30)
    assert edit.rule.source == f"{machine.grants_path}:5"
    assert machine.verb("work", NOON + 30 * MINUTE - timedelta(seconds=1)) is ALLOW
    assert machine.verb("work", NOON + 30 * MINUTE) is DENY
    assert next_change(machine.policy, NOON) == NOON + 30 * MINUTE
    assert [path.name for path in machine.directory.iterdir()] == ["90-default.yaml"]


def test_grant_does_not_apply_after_the_clock_is_set_back(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30)
    assert machine.verb("work", NOON - timedelta(days=3650)) is DENY


def test_runtime_directory_is_created_so_that_others_cannot_write_to_it(machine: Machine) -> None:
    old_umask = os.umask(0)
    try:
        machine.grant("work", ALLOW, 30)
    finally:
        os.umask(old_umask)
    for directory in (machine.runtime, machine.runtime.parent):
        assert directory.stat().st_mode & 0o7777 == 0o755
    assert machine.grants_path.stat().st_mode & 0o7777 == 0o644


def test_runtime_directory_may_be_missing(machine: Machine) -> None:
    assert len(machine.policy.rules) == 1
    assert grants.read(machine.runtime) == ()


def test_newer_grant_replaces_the_older_one_of_the_same_guest(machine: Machine) -> None:
    machine.grant("work", ALLOW, 60)
    edit = machine.grant("work", ALLOW, 5)
    assert machine.verb("work", NOON + 5 * MINUTE) is DENY
    assert [rule.guest for rule in edit.revoked] == ["work"]


def test_grant_keeps_those_of_other_guests_and_of_the_other_direction(machine: Machine) -> None:
    machine.grant("work", ALLOW, 60)
    context = EditContext(PolicyPaths([machine.directory], machine.runtime), now=NOON)
    grant(context, "work", PLAYBACK, DENY, NOON + MINUTE)
    machine.grant("home", ALLOW, 60)
    assert machine.grants == ["home allow", "work None", "work allow"]


def test_grant_for_many_guests_replaces_opposite_grants_and_keeps_the_others(
    machine: Machine,
) -> None:
    machine.grant("work-a", DENY, 60)
    machine.grant("work-b", ALLOW, 60)
    machine.grant("work-*", ALLOW, 5)
    assert machine.grants == ["work-* allow", "work-b allow"]
    assert machine.verb("work-a") is ALLOW


@pytest.mark.parametrize("verb", [DENY, ASK])
def test_permanent_change_revokes_the_grant_that_opposes_it(machine: Machine, verb: Verb) -> None:
    machine.grant("work", ALLOW, 60)
    edit = machine.set("work", verb)
    assert machine.verb("work") is verb
    assert machine.grants == []
    assert [rule.capture for rule in edit.revoked] == [ALLOW]


def test_permanent_allow_revokes_a_temporary_denial(machine: Machine) -> None:
    machine.grant("work", DENY, 60)
    machine.set("work", ALLOW)
    assert machine.verb("work") is ALLOW


def test_denying_many_guests_revokes_the_grant_of_each(machine: Machine) -> None:
    machine.grant("work-a", ALLOW, 60)
    machine.grant("home", ALLOW, 60)
    machine.set("work-*", DENY)
    assert (machine.verb("work-a"), machine.verb("home")) == (DENY, ALLOW)


def test_denying_one_guest_leaves_the_grant_to_the_others(machine: Machine) -> None:
    machine.grant("work-*", ALLOW, 60)
    edit = machine.set("work-a", DENY)
    assert (machine.verb("work-a"), machine.verb("work-b")) == (DENY, ALLOW)
    assert machine.verb("work-b", NOON + 60 * MINUTE) is DENY
    assert machine.grants == ["work-a deny", "work-* allow"]
    assert edit.rule.file == machine.directory / "30-user.yaml"


def test_denying_a_tag_overrides_the_grant_of_a_guest_that_might_have_it(machine: Machine) -> None:
    machine.grant("work", ALLOW, 60)
    machine.set("tag:untrusted", DENY)
    assert machine.verb("work") is DENY


def test_grants_that_have_ended_are_removed_at_the_next_edit(machine: Machine) -> None:
    machine.grant("a", ALLOW, 10)
    machine.grant("b", ALLOW, 20)
    edit = machine.set("c", ALLOW, NOON + 10 * MINUTE)
    assert machine.grants == ["b allow"]
    assert edit.revoked == ()
    machine.grant("c", ALLOW, 10, now=NOON + 20 * MINUTE)
    assert machine.grants == ["c allow"]


def test_grant_keeps_the_limits_that_apply_already(machine: Machine) -> None:
    machine.put("20-site.yaml", "- {guest: 'w*', capture: ask, device: headset, max-streams: 1}\n")
    machine.grant("work", ALLOW, 30)
    decision = machine.decide("work")
    assert (decision.verb, decision.options.fields) == (
        ALLOW,
        {"device": "headset", "max-streams": "1"},
    )


def test_grant_comes_before_the_rules_of_a_site_but_after_00_always(
    machine: Machine,
) -> None:
    machine.put("10-site.yaml", "- {guest: work, capture: deny}\n")
    assert machine.grant("work", ALLOW, 30).rule.file == machine.grants_path
    always = machine.put("00-always.yaml", "- {guest: '*', capture: deny}\n")
    before = machine.grants_path.read_bytes()
    with pytest.raises(UsageError) as caught:
        machine.grant("home", ALLOW, 30)
    assert str(caught.value) == (
        f"'home' would not get capture allow: {always}:3 comes before 00-grants.yaml and says "
        "{guest: '*', capture: deny}; change that rule by hand"
    )
    assert machine.grants_path.read_bytes() == before


def test_grant_that_would_be_overridden_makes_no_directory(machine: Machine) -> None:
    machine.put("00-always.yaml", "- {guest: '*', capture: deny}\n")
    with pytest.raises(UsageError, match="would not get capture allow"):
        machine.grant("work", ALLOW, 30)
    assert not machine.runtime.parent.exists()


def test_bad_policy_refuses_a_grant(machine: Machine) -> None:
    machine.put("20-site.yaml", "- x\n")
    with pytest.raises(PolicyError, match="a rule must be a mapping"):
        machine.grant("work", ALLOW, 30)
    assert not machine.runtime.exists()


def test_grant_until_a_past_time_is_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="that time has passed"):
        machine.grant("work", ALLOW, 0)


def test_grant_without_an_end_is_refused_by_the_loader(machine: Machine) -> None:
    machine.grant("work", ALLOW, 30)
    machine.grants_path.write_text(HEAD + "- {guest: work, capture: allow}\n")
    with pytest.raises(PolicyError) as caught:
        load([machine.directory], runtime=machine.runtime)
    assert str(caught.value) == (
        f"{machine.grants_path}:3:3: a grant needs an end (add until:, or remove the grant)"
    )


def test_disk_that_fails_leaves_the_grants_as_they_were(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.grant("work", ALLOW, 30)
    before = machine.grants_path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError) as caught:
        machine.grant("home", ALLOW, 30)
    assert str(caught.value) == (
        f"{machine.grants_path}: No space left on device; nothing was changed"
    )
    assert machine.grants_path.read_bytes() == before


def test_if_only_the_second_file_fails_less_is_granted_and_reported(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.grant("work", ALLOW, 30)
    replace = atomic.replace

    def fail(path: Path, octets: bytes) -> None:
        if path.name != GRANTS_FILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, octets)

    monkeypatch.setattr(atomic, "replace", fail)
    with pytest.raises(UsageError) as caught:
        machine.set("work", DENY)
    assert str(caught.value) == (
        f"{machine.directory}/30-user.yaml: No space left on device; only grants were revoked"
    )
    assert machine.verb("work") is DENY


def test_only_the_grants_that_let_one_guest_record_end(machine: Machine) -> None:
    for guest in ("work", "work-*", "web"):
        machine.grant(guest, ALLOW, 60)
    machine.grant("vault", DENY, 60)
    path = machine.runtime / GRANTS_FILE
    path.write_text(path.read_text().replace("capture: allow", "playback: ask, capture: allow", 1))
    assert grants.end_capture(machine.runtime, "web")
    assert grants.end_capture(machine.runtime, "work")
    assert not grants.end_capture(machine.runtime, "work")
    assert not grants.end_capture(machine.runtime, "vault")
    assert [(rule.guest, rule.playback, rule.capture) for rule in grants.read(machine.runtime)] == [
        ("vault", None, DENY),
        ("web", ASK, None),
        ("work-*", None, ALLOW),
    ]
