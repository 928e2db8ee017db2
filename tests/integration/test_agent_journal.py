"""The audit trail in a real journald, which runs where nobody else sees it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from systemd import journal

from agent_dom0.events import EventKind
from tests.agents import PATIENT, Dom0, Ended, Guest, eventually
from tests.local_machine import LocalMachine
from tests.pulse_server import PulseServer, noise

JOURNALD = Path("/lib/systemd/systemd-journald")
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SECOND = 48000 * 4
LOST = "capture is denied until it can be written again"

# Directories of its own, in a mount namespace of its own, that lasts until its input ends.
NAMESPACE = """
set -e
mkdir -p /run/systemd /run/log
for directory in /run/systemd /run/log /var/log/journal; do
    [ ! -d $directory ] || mount -t tmpfs tmpfs $directory
done
mkdir -p /run/systemd/journal
echo ready
exec cat
"""

pytestmark = pytest.mark.skipif(
    not JOURNALD.exists()
    or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="needs systemd-journald, and root's right to a mount namespace",
)


class Journald:
    """`enter` runs a command where this journald is the machine's."""

    def __enter__(self) -> Self:
        self._namespace = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", NAMESPACE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._namespace.stdout is not None
        assert self._namespace.stdout.readline() == b"ready\n"
        self._root = Path(f"/proc/{self._namespace.pid}/root")
        self._process: subprocess.Popen[bytes] | None = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._namespace.communicate()

    @property
    def enter(self) -> Sequence[str]:
        return ["nsenter", f"--target={self._namespace.pid}", "--mount"]

    def start(self) -> None:
        self._process = subprocess.Popen([*self.enter, JOURNALD], stderr=subprocess.DEVNULL)
        hello = [*self.enter, "systemd-cat", "true"]
        assert eventually(
            lambda: subprocess.run(hello, capture_output=True, check=False).returncode == 0
        )

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def records(self, kind: EventKind, **fields: object) -> list[dict[str, Any]]:
        """As `journalctl MESSAGE_ID=... XENSND_...` finds them."""
        found = []
        for directory in self._root.glob("run/log/journal/*"):
            with journal.Reader(path=str(directory)) as reader:
                reader.add_match(MESSAGE_ID=kind.value)
                for name, value in fields.items():
                    reader.add_match(f"XENSND_{name.upper()}={value}")
                found += list(reader)
        return found


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
