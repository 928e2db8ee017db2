"""The audit trail in a real journald, which runs where nobody else sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_dom0.audit import KEPT_MAX
from agent_dom0.events import EventKind
from tests.support.agents import PATIENT, Dom0, Ended, Guest
from tests.support.journald import Journald, needs_journald
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SECOND = 48000 * 4
ROOT = Path(__file__).parents[2]
LOST = "capture is denied until it can be written again"

WRITE_EVERY_KIND = """
import time
from agent_dom0.audit import JournalSink
from agent_dom0.events import Event, EventKind
from tests.support import audit_table
for kind in EventKind:
    row = audit_table.rows()[kind.name.lower()]
    event = Event(kind, "said", fields=dict.fromkeys(row.always, "what it says"))
    while True:
        try:
            JournalSink().write(event)
            break
        except BlockingIOError:  # journald gives way as these tests do
            time.sleep(0.01)
"""

pytestmark = needs_journald


@pytest.fixture
def journald() -> Iterator[Journald]:
    with Journald() as journald:
        yield journald


@pytest.fixture
def dom0(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, journald: Journald
) -> Iterator[Dom0]:
    """One that is not started yet."""
    dom0 = Dom0(
        tmp_path / "dom0",
        machine.url,
        pulse.address,
        policy=POLICY,
        audit="journal",
        options=[PATIENT],
        prefix=journald.enter,
    )
    yield dom0
    if dom0.process is not None:
        assert dom0.stop() == 0
    assert "Traceback" not in dom0.log


def test_decision_is_found_in_the_journal_by_its_message_id(
    journald: Journald, dom0: Dom0, work: Guest
) -> None:
    journald.start()
    dom0.start()
    with work.start("record", "-", "--seconds=0.2") as recording:
        assert recording.ended() == Ended(0)
    (record,) = eventually(lambda: journald.records(EventKind.DECISION, domid=work.domid))
    reason = (
        "first rule that matches and names capture: guest: '*', playback: allow, capture: allow"
    )
    expected = {
        "MESSAGE": f"work: capture allow ({dom0.policy_file}:3: {reason})",
        "PRIORITY": 5,
        "SYSLOG_IDENTIFIER": "xensnd-dom0",
        "XENSND_GUEST": "work",
        "XENSND_DOMID": str(work.domid),
        "XENSND_DIRECTION": "capture",
        "XENSND_DECISION": "allow",
        "XENSND_REASON": reason,
        "XENSND_RULE_FILE": str(dom0.policy_file),
        "XENSND_RULE_LINE": "3",
    }
    assert expected.items() <= record.items()
    for kind in (EventKind.AGENT_STARTED, EventKind.POLICY_LOADED):
        assert len(journald.records(kind)) == 1
    for kind in (EventKind.DEVICE_MADE, EventKind.STREAM_OPENED, EventKind.STREAM_CLOSED):
        assert len(journald.records(kind, domid=work.domid)) == 1


def test_journalctl_explains_what_happened_with_the_guests_own_name(
    journald: Journald, dom0: Dom0, work: Guest
) -> None:
    journald.install_catalog()
    journald.start()
    dom0.start()
    with work.start("record", "-", "--seconds=0.2") as recording:
        assert recording.ended() == Ended(0)
    assert eventually(lambda: journald.records(EventKind.STREAM_CLOSED, domid=work.domid))
    said = journald.journalctl("-x", "-t", "xensnd-dom0")
    lines = [line.strip() for line in said.splitlines()]
    for explanation in (
        "Subject: The agent for guests' sound has started",
        "Subject: Guest work was given a sound card",
        "xensnd-policy explain work shows every rule that could have decided.",
        "Documentation: man:xensnd-policy(1)",
    ):
        assert f"░░ {explanation}" in lines, said
    assert "@XENSND" not in said


def test_every_kind_of_event_is_explained_by_journalctl(journald: Journald, dom0: Dom0) -> None:
    journald.install_catalog()
    journald.start()
    write = [*journald.enter, sys.executable, "-c", WRITE_EVERY_KIND]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(write, env=path, check=True)
    assert eventually(lambda: journald.records(EventKind.AUDIT_RESUMED))
    for kind in EventKind:
        said = journald.journalctl("-x", f"MESSAGE_ID={kind.value}")
        assert "░░ Subject: " in said, kind
        assert "@XENSND" not in said, said
    assert dom0.process is None


def test_events_of_a_lost_journald_are_kept_within_bounds_and_the_loss_is_noted(
    journald: Journald, dom0: Dom0
) -> None:
    journald.start()
    dom0.start()
    journald.kill()
    for _ in range(KEPT_MAX + 5):
        dom0.ask("reload")
    assert dom0.ask("status")["audit"] == {"where": "journal", "missing": KEPT_MAX + 5}
    journald.start()
    (resumed,) = eventually(lambda: journald.records(EventKind.AUDIT_RESUMED))
    assert (resumed["XENSND_LATE"], resumed["XENSND_MISSING"]) == (str(KEPT_MAX), "5")
    assert resumed["MESSAGE"] == (
        f"the audit trail is written again; {KEPT_MAX} events were written late, "
        "5 are missing from it"
    )
    loaded = journald.records(EventKind.POLICY_LOADED)
    late = [record["XENSND_TIME"] for record in loaded if "XENSND_TIME" in record]
    assert len(late) == KEPT_MAX
    assert late == sorted(late)
    verify = [sys.executable, "-m", "policy.cli.main", "log", "--verify"]
    said = subprocess.run(
        [*journald.enter, *verify], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert "  5 events are missing, " in said.stdout
    assert dom0.ask("status")["audit"] == {"where": "journal", "missing": 0}


def test_without_journald_capture_is_denied_and_one_line_says_so(
    pulse: PulseServer, dom0: Dom0, work: Guest
) -> None:
    dom0.start()
    with pulse.microphone(noise(5)), work.start("record", "-", "--seconds=0.5") as recording:
        assert recording.ended() == Ended(0)
        assert recording.heard == bytes(SECOND // 2)
    assert work.run("play", "-", stdin=noise(0.1)) == Ended(0)
    (said,) = [line for line in dom0.log.splitlines() if LOST in line]
    assert said == f"xensnd-dom0: audit journal: No such file or directory; {LOST}"


def test_capture_goes_live_again_with_the_next_journald(
    journald: Journald, pulse: PulseServer, dom0: Dom0, work: Guest
) -> None:
    journald.start()
    dom0.start()
    with pulse.microphone(noise(20)), work.start("record", "-", "--seconds=20") as recording:
        recording.listen_until(lambda heard: heard.strip(b"\0"))
        journald.kill()
        dom0.hang_up_until(LOST)
        arrived = len(recording.heard)
        heard = recording.listen_until(lambda heard: len(heard) > arrived + SECOND)
        assert len(heard) > arrived + SECOND
        assert not heard[arrived + SECOND // 2 :].strip(b"\0")
        journald.start()
        assert eventually(lambda: journald.records(EventKind.AUDIT_RESUMED))
        silent = len(recording.heard)
        heard = recording.listen_until(lambda heard: heard[silent:].strip(b"\0"), 2)
        assert heard[silent:].strip(b"\0")
    (said,) = [line for line in dom0.log.splitlines() if LOST in line]
    assert said == f"xensnd-dom0: audit journal: Connection refused; {LOST}"


def test_journald_that_hangs_denies_capture_and_holds_up_nobody(
    journald: Journald, pulse: PulseServer, dom0: Dom0, work: Guest
) -> None:
    journald.start()
    dom0.start()
    journald.freeze()
    dom0.hang_up_until(LOST)
    with pulse.microphone(noise(5)), work.start("record", "-", "--seconds=0.5") as recording:
        assert recording.ended() == Ended(0)
        assert recording.heard == bytes(SECOND // 2)
    assert work.run("play", "-", stdin=noise(0.1)) == Ended(0)
    journald.thaw()
    assert eventually(lambda: journald.records(EventKind.AUDIT_RESUMED))
    (said,) = [line for line in dom0.log.splitlines() if LOST in line]
    problem = "journald accepts no more messages; see whether it still works"
    assert said == f"xensnd-dom0: audit journal: {problem}; {LOST}"
