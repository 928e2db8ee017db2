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

# As an agent that is told to write `1 1 0 1`: two events, one that never arrives, and one more.
WRITE_NUMBERED = """
import sys
from pathlib import Path
from agent_dom0.audit import AuditTrail, JournalSink
from agent_dom0.events import Event, EventKind
from agent_dom0.trail_numbers import open_numbers
numbers = open_numbers(Path("/run/log/journal/trail-0"), "journal")
trail = AuditTrail(JournalSink())
trail.number_by(numbers)
for arrives in sys.argv[1:]:
    if arrives == "1":
        assert trail.append(Event(EventKind.POLICY_LOADED, "read"))
    else:
        numbers.take()
"""


class Machine:
    """Where the journald runs."""

    def __init__(self, journald: Journald) -> None:
        self.journald = journald
        self._enter = journald.enter

    def write(self, guest: str, *texts: str, user: int = 0) -> None:
        become = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
        command = [*self._enter, *become, *public_python("-c", WRITE), guest, *texts]
        subprocess.run(command, check=True)

    def write_numbered(self, *arrive: int) -> None:
        """Each time another agent, which goes on with the numbers."""
        arguments = [str(each) for each in arrive]
        subprocess.run([*self._enter, *public_python("-c", WRITE_NUMBERED), *arguments], check=True)

    def verify(self) -> tuple[int, list[str]]:
        """Return the exit status, and the lines without ids and times."""
        done = subprocess.run(
            self.command("--verify"), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        lines = [line.split(",")[0].split(": ")[-1] for line in done.stdout.splitlines()]
        return done.returncode, lines

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


def test_journal_in_which_nothing_is_missing_over_a_restart_of_the_agent(machine: Machine) -> None:
    machine.write_numbered(1, 1, 1)
    machine.write_numbered(1, 1)
    machine.await_log(5)
    assert machine.verify() == (0, ["events 1 to 5", "nothing is missing"])


def test_record_that_did_not_reach_the_journal_shows(machine: Machine) -> None:
    machine.write_numbered(1, 1, 0, 1)
    machine.write_numbered(0, 0, 1)  # the first agent's last, or the second one's first
    machine.await_log(4)
    assert machine.verify() == (
        1,
        [
            "events 1 to 7",
            "  event 3 is missing",
            "  2 events are missing",
            "events are missing",
        ],
    )


def test_oldest_records_that_the_journal_has_removed_are_no_loss(machine: Machine) -> None:
    machine.write_numbered(1, 1, 1)
    machine.await_log(3)
    machine.journald.journalctl("--rotate")
    machine.write_numbered(1, 1)
    machine.await_log(5)
    machine.journald.journalctl("--vacuum-files=1")
    assert machine.verify() == (0, ["events 4 to 5", "nothing is missing"])
