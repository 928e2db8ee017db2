"""xensnd-policy log, of a real journald that was written to as the agent does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journald import Journald, needs_journald
from tests.support.public_copy import public_python

ROOT = Path(__file__).parents[2]
pytestmark = needs_journald

WRITE = """
import sys
from agent_dom0.audit import JournalSink
from agent_dom0.events import EventKind, guest_event
sink = JournalSink()
for text in sys.argv[2:]:
    sink.write(guest_event(EventKind.STREAM_OPENED, sys.argv[1], 7, text))
"""


class Machine:
    """Where the journald runs."""

    def __init__(self, journald: Journald) -> None:
        self._enter = journald.enter

    def write(self, guest: str, *texts: str, user: int = 0) -> None:
        become = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
        command = [*self._enter, *become, *public_python("-c", WRITE), guest, *texts]
        subprocess.run(command, check=True)

    def say(self, text: str) -> None:
        """As the agent does on standard error."""
        command = [*self._enter, "systemd-cat", "--identifier=xensnd-dom0", "echo", text]
        subprocess.run(command, check=True)

    def command(self, *arguments: str) -> list[str]:
        return [*self._enter, sys.executable, "-m", "policy.cli.main", "log", *arguments]

    def log(self, *arguments: str) -> list[str]:
        command = self.command(*arguments)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def await_log(self, lines: int) -> list[str]:
        deadline = time.monotonic() + 10
        while len(found := self.log()) < lines and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Journald() as journald:
        journald.start()
        yield Machine(journald)


def test_log_shows_events_and_nothing_else_of_the_journal(machine: Machine) -> None:
    machine.say("xensnd-dom0: a warning")
    machine.write("work", "opened", "opened again")
    machine.write("web", "opened")
    lines = machine.await_log(3)
    assert [line[20:] for line in lines] == ["work: opened", "work: opened again", "web: opened"]
    assert [line[20:] for line in machine.log("--guest", "web")] == ["web: opened"]
    assert machine.log("--guest", "none") == []
    assert len(machine.log("--since", "1h")) == 3
    assert machine.log("--since", "2099-01-01T00:00") == []
    (line,) = machine.log("--guest", "web", "--json")
    record = json.loads(line)
    assert record["MESSAGE_ID"] == "b367ebcf49124b6e90ced332c10cef81"
    assert (record["XENSND_DOMID"], record["_UID"]) == ("7", 0)


def test_log_shows_who_has_written_in_our_name(machine: Machine) -> None:
    machine.write("work", "opened", user=1234)
    (line,) = machine.await_log(1)
    assert line.endswith(" work: opened [written by uid 1234]")


def test_log_is_followed(machine: Machine) -> None:
    machine.write("work", "before")
    machine.await_log(1)
    with subprocess.Popen(
        machine.command("--follow", "--guest", "work"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline().endswith("work: before\n")
        machine.write("web", "not this")
        machine.write("work", "after")
        assert following.stdout.readline().endswith("work: after\n")
        following.send_signal(2)
        assert following.wait(10) == 0
