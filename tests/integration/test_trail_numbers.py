"""The numbers of a trail in a file: over the death of an agent, and after a record was removed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.agents import PATIENT, Dom0
from tests.support.local_machine import LocalMachine


def verified(dom0: Dom0) -> tuple[int, list[str]]:
    """Return the exit status, and the lines without ids and times."""
    done = dom0.policy("log", "--verify", "--file", str(dom0.audit_file))
    assert done.stderr == ""
    return done.returncode, [
        line.split(",")[0].split(": ")[-1].strip() for line in done.stdout.splitlines()
    ]


def test_agent_that_is_killed_leaves_no_gap_and_a_removed_record_does(
    tmp_path: Path, machine: LocalMachine
) -> None:
    with Dom0(tmp_path / "dom0", machine.url, "unix:/none", options=[PATIENT]) as dom0:
        os.kill(dom0.agent_pid, signal.SIGKILL)
        dom0.await_event("policy_loaded", count=2)
    numbers = [each["XENSND_SEQUENCE"] for each in dom0.events()]
    assert numbers == list(range(1, len(numbers) + 1))
    whole = f"events 1 to {len(numbers)}"
    assert verified(dom0) == (0, [whole, "nothing is missing"])

    lines = dom0.audit_file.read_text().splitlines(keepends=True)
    dom0.audit_file.write_text("".join(lines[:1] + lines[2:]))
    assert verified(dom0) == (1, [whole, "event 2 is missing", "events are missing"])
