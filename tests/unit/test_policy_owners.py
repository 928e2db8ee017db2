"""Root and the agent's own user edit the same policy; other users cannot."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policy import owners
from policy.edit import grants
from policy.edit.editor import EditContext, grant, set_verb
from policy.language.loader import load
from policy.model import Direction, Verb
from policy.paths import USER_FILE, PolicyPaths
from xensnd.errors import PolicyError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STRANGER_UID = 4242


@pytest.fixture(autouse=True)
def agent_user(monkeypatch: pytest.MonkeyPatch) -> pwd.struct_passwd:
    """Some user who is there on any machine."""
    monkeypatch.setattr(owners, "AGENT_USER", "nobody")
    return pwd.getpwnam("nobody")


@pytest.fixture
def machine(tmp_path: Path, agent_user: pwd.struct_passwd) -> Path:
    """As the package leaves it: /etc and /run of the agent's."""
    for path in tmp_path.parents:
        if not path.stat().st_mode & 0o001:  # pytest's own are root's alone
            path.chmod(path.stat().st_mode | 0o011)
    for name in ("policy.d", "run"):
        (tmp_path / name).mkdir(mode=0o755)
        os.chown(tmp_path / name, agent_user.pw_uid, agent_user.pw_gid)
    tmp_path.chmod(0o755)
    return tmp_path


@contextmanager
def being(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def set_capture(machine: Path, guest: str, verb: Verb = Verb.ALLOW) -> None:
    paths = PolicyPaths([machine / "policy.d"], machine / "run/policy.d")
    set_verb(EditContext(paths), guest, Direction.CAPTURE, verb)


def give_capture(machine: Path, guest: str, *, once: bool = False) -> None:
    context = EditContext(PolicyPaths([machine / "policy.d"], machine / "run/policy.d"), now=NOW)
    ends = NOW + timedelta(hours=1)
    grant(context, guest, Direction.CAPTURE, Verb.ALLOW, ends, once)


def guests(machine: Path) -> list[str]:
    rules = load([machine / "policy.d"], runtime=machine / "run/policy.d").rules
    return sorted(rule.guest for rule in rules)


def test_agent_adds_a_rule_to_a_file_of_root(machine: Path, agent_user: pwd.struct_passwd) -> None:
    set_capture(machine, "work")
    with being(agent_user.pw_uid):
        set_capture(machine, "personal")
        assert guests(machine) == ["personal", "work"]
    set_capture(machine, "vault", Verb.DENY)
    assert guests(machine) == ["personal", "vault", "work"]


def test_root_adds_a_rule_to_a_file_of_the_agent(
    machine: Path, agent_user: pwd.struct_passwd
) -> None:
    with being(agent_user.pw_uid):
        set_capture(machine, "work")
    set_capture(machine, "personal")
    with being(agent_user.pw_uid):
        set_capture(machine, "vault")
    assert guests(machine) == ["personal", "vault", "work"]


def test_file_that_root_wrote_by_hand_can_be_replaced_by_the_agent(
    machine: Path, agent_user: pwd.struct_passwd
) -> None:
    path = machine / "policy.d" / USER_FILE
    path.write_text("version: 1\nrules:\n  - guest: work\n    capture: deny\n")
    path.chmod(0o644)
    with being(agent_user.pw_uid):
        set_capture(machine, "work")
    assert "capture: allow" in path.read_text()


def test_grant_that_root_gave_is_taken_by_the_agent(
    machine: Path, agent_user: pwd.struct_passwd
) -> None:
    give_capture(machine, "work", once=True)
    with being(agent_user.pw_uid):
        (rule,) = grants.read(machine / "run/policy.d")
        assert grants.take(machine / "run/policy.d", rule, "7/0/1")
    give_capture(machine, "personal")
    assert guests(machine) == ["personal", "work"]


def test_directory_that_root_makes_is_not_given_away_if_a_link_replaced_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an agent that is no longer ours, between the making and the giving."""
    secret = machine / "secret"
    secret.mkdir(mode=0o700)

    def make(path: Path, mode: int = 0) -> None:  # noqa: ARG001
        path.symlink_to(secret)

    monkeypatch.setattr(Path, "mkdir", make)
    with pytest.raises(OSError, match="Not a directory"):
        grants.make_directory(machine / "run/policy.d")
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o777) == (0, 0o700)


def test_strangers_file_is_refused_by_root_and_by_the_agent(
    machine: Path, agent_user: pwd.struct_passwd
) -> None:
    path = machine / "policy.d" / USER_FILE
    path.write_text("version: 1\nrules:\n  - guest: work\n    capture: allow\n")
    path.chmod(0o644)
    os.chown(path, STRANGER_UID, STRANGER_UID)
    for uid in (0, agent_user.pw_uid):
        with being(uid), pytest.raises(PolicyError, match=f"owned by uid {STRANGER_UID}, not by"):
            guests(machine)


def test_agents_file_is_refused_where_the_agent_has_no_user(
    machine: Path, agent_user: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with being(agent_user.pw_uid):
        set_capture(machine, "work")
    monkeypatch.setattr(owners, "AGENT_USER", "no-such-user")
    with pytest.raises(PolicyError, match="so others could change it"):
        guests(machine)
