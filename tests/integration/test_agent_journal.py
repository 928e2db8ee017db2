"""The audit trail in a real journald, which runs where nobody else sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_dom0.events import EventKind
from tests.agents import PATIENT, Dom0, Ended, Guest
from tests.journald import Journald, needs_journald
from tests.local_machine import LocalMachine
from tests.pulse_server import PulseServer, noise
from tests.raw_frontend import eventually

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SECOND = 48000 * 4
LOST = "capture is denied until it can be written again"

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
        "first rule that matches and speaks of capture: guest: '*', playback: allow, capture: allow"
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
        recording.listen_until(lambda heard: len(heard) > arrived + SECOND)
        assert not recording.heard[arrived + SECOND // 2 :].strip(b"\0")
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
    problem = "journald does not take any more; is it well?"
    assert said == f"xensnd-dom0: audit journal: {problem}; {LOST}"
