"""The base of the tests' daemons: it waits for readiness, and tells why there is none."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon

ENDS = "import sys; sys.exit('no disk')"
WAITS = "import signal; signal.pause()"
SAYS_READY = "import signal; print('ready', flush=True); signal.pause()"
NOTIFIES = """
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
    notifier.sendto(b"STATUS=soon", "\\0" + os.environ["NOTIFY_SOCKET"][1:])
    notifier.sendto(b"READY=1", "\\0" + os.environ["NOTIFY_SOCKET"][1:])
signal.pause()
"""
MAKES_A_FILE = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
ENDS_LATE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("not yet", file=sys.stderr, flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


class Example(Daemon):
    """A Python program that is ready in one of the three ways."""

    def __init__(self, directory: Path, program: str, way: str) -> None:
        super().__init__("example", directory / "log")
        self._file = directory / "there"
        self._command = [sys.executable, "-c", program, str(self._file)]
        self._way = way

    def start(self) -> None:
        if self._way == "line":
            self.launch_until_line(self._command, b"ready")
        elif self._way == "notified":
            self.launch_until_notified(self._command)
        else:
            self.launch_until(self._command, self._file.exists)


READY = [("line", SAYS_READY), ("notified", NOTIFIES), ("condition", MAKES_A_FILE)]


@pytest.mark.parametrize(("way", "program"), READY)
def test_daemon_runs_from_the_beginning_of_its_block_to_its_end(
    tmp_path: Path, way: str, program: str
) -> None:
    with Example(tmp_path, program, way) as example:
        process = example.process
        assert process is not None
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("way", "program"), READY)
def test_daemon_can_be_started_again(tmp_path: Path, way: str, program: str) -> None:
    with Example(tmp_path, program, way) as example:
        first = example.pid
        example.kill()
        example.start()
        assert example.pid != first


@pytest.mark.parametrize("way", ["line", "notified", "condition"])
def test_daemon_that_ends_before_it_is_ready_shows_its_log(tmp_path: Path, way: str) -> None:
    example = Example(tmp_path, ENDS, way)
    with pytest.raises(RuntimeError, match=r"(?s)example does not start: .*no disk"):
        example.start()
    assert example.process is None


@pytest.mark.parametrize("way", ["line", "notified", "condition"])
def test_daemon_that_is_never_ready_is_ended(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "READY_SECONDS", 0.2)
    example = Example(tmp_path, WAITS, way)
    with pytest.raises(RuntimeError, match="example does not start"):
        example.start()
    assert example.process is None


def test_frozen_daemon_ends(tmp_path: Path) -> None:
    with Example(tmp_path, SAYS_READY, "line") as example:
        example.freeze()
        assert example.stop() == -signal.SIGTERM


def test_daemon_that_does_not_end_is_killed_and_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "END_SECONDS", 0.2)
    example = Example(tmp_path, ENDS_LATE, "line")
    example.start()
    with pytest.raises(RuntimeError, match=r"(?s)example does not end; its log:.*not yet"):
        example.stop()
