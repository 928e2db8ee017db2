"""What people, programs and disks do to policy files: refused in one line, the same everywhere.

By `check`, by an edit, which then writes nothing, and by the agent, which then lets nobody record.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.audit import AuditTrail
from policy.cli.main import main
from policy.model import Direction, Verb
from policy.paths import PolicyPaths
from tests.unit.test_dom0_policy_state import WORK, Queue, Trail

GOOD = "version: 1\nrules:\n  - guest: work\n    playback: allow\n    capture: allow\n"
BOMB = "a: &a [x]\n" + "".join(f"{name}: &{name} [*a, *a, *a, *a]\n" for name in "bcdefgh")


def holds(octets: bytes | str) -> Callable[[Path], object]:
    data = octets if isinstance(octets, bytes) else octets.encode()
    return lambda path: path.write_bytes(data)


def is_huge(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b"# filler\n" * ((1 << 20) // 9))


def is_another_users(path: Path) -> None:
    path.write_text(GOOD)
    os.chown(path, 1000, -1)


def is_writable_by_all(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0o666)


ABUSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "duplicate key": (holds(GOOD + "    capture: allow\n"), "duplicate key 'capture'"),
    "duplicate key at the top": (holds(GOOD + "version: 1\n"), "duplicate key 'version'"),
    "anchor": (holds(GOOD.replace("allow", "&a allow", 1)), "anchors are not allowed: '&a'"),
    "alias": (holds(GOOD.replace("allow", "*a", 1)), "aliases are not allowed"),
    "aliases without end": (holds(BOMB), "anchors are not allowed"),
    "merge key": (holds(GOOD + "    <<: {capture: allow}\n"), "merge keys are not allowed"),
    "tag": (holds(GOOD.replace("allow", "!!str allow", 1)), "tags are not allowed: '!!str'"),
    "tag that makes an object": (
        holds(GOOD.replace("allow", "!!python/object/apply:os.system [id]", 1)),
        "tags are not allowed: '!!python/object/apply:os.system'",
    ),
    "directive": (holds("%TAG ! tag:x,2000:\n---\n" + GOOD), "%-directives are not allowed"),
    "second document": (holds(GOOD + "---\n" + GOOD), "a second document starts here"),
    "deep nesting": (holds("[" * (1 << 20)), "nested deeper than 8 levels"),
    "hundred megabytes": (is_huge, "larger than 1048576 octets"),
    "NUL": (holds(GOOD + "#\0\n"), "character U+0000 (NUL) is not allowed"),
    "invalid UTF-8": (holds(GOOD.encode() + b"# \xff\n"), "octet 0xFF is not UTF-8"),
    "half a character": (holds(GOOD.encode() + b"# \xc3"), "octet 0xC3 is not UTF-8"),
    "surrogate": (holds(GOOD.encode() + b"# \xed\xa0\x80"), "octet 0xED is not UTF-8"),
    "text that turns around": (holds(GOOD + "# \u202e\n"), "character U+202E (invisible)"),
    "nothing": (holds(""), "the file has no policy in it"),
    "another user's": (is_another_users, "owned by uid 1000, not by root"),
    "writable by all": (is_writable_by_all, "mode 0666, so others could change it"),
    "dangling link": (lambda path: path.symlink_to("gone"), "a broken link"),
    "link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic"),
    "directory": (lambda path: path.mkdir(), "not a regular file"),
    "fifo": (lambda path: os.mkfifo(path, 0o644), "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
}


@pytest.fixture(params=ABUSES.values(), ids=list(ABUSES))
def abused(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A policy directory with a good file and an abused one, and what is wrong with that."""
    abuse, wrong = request.param
    if abuse is is_another_users and os.geteuid() != 0:
        pytest.skip("gives a file away: needs root")
    directory = tmp_path / "policy.d"
    directory.mkdir(mode=0o755)
    good, bad = directory / "30-user.yaml", directory / "40-abused.yaml"
    good.write_text(GOOD)
    abuse(bad)
    for path in (good, bad):
        if abuse is not is_writable_by_all and path.is_file() and not path.is_symlink():
            path.chmod(0o644)
    return directory, wrong


def test_abuse_is_refused_in_one_line_by_all_that_read_policy(
    abused: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, wrong = abused
    policy = f"--policy={directory}"

    assert main([policy, "check"]) == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"xensnd-policy: {directory}/40-abused.yaml:")
    assert wrong in line
    assert said.out == ""

    assert main([policy, "deny-capture", "work"]) == 1
    assert capsys.readouterr().err == said.err
    assert (directory / "30-user.yaml").read_text() == GOOD

    trail = Trail()
    permission = PolicyState(PolicyPaths([directory]), AuditTrail(trail), Queue())
    permission.load()
    (event,) = trail.events
    assert f"xensnd-policy: {event.fields['XENSND_PROBLEM']}\n" == said.err
    assert permission.decide(WORK, Direction.CAPTURE).verb is Verb.DENY
