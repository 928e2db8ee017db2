"""The agent as systemd has it: it says how it is, and one that hangs is followed by the next."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, QUEUED_MSEC, Dom0, Guest
from tests.support.heard import gaps_of_whole, seconds_heard
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise

WAIT_SECONDS = 20
# An agent that is silent for half of it is taken to hang.
WATCHDOG_USEC = 4_000_000


class Manager:
    """The socket on which systemd listens for sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def close(self) -> None:
        self._socket.close()

    def await_told(self, assignment: str, after: int = 0) -> int:
        """How much it had been told by then. Looks at what came after so much."""
        deadline = time.monotonic() + WAIT_SECONDS
        while assignment not in self.told[after:]:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                self.told += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                pytest.fail(f"never told {assignment!r}: {self.told[after:]}")
        return self.told.index(assignment, after) + 1


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def dom0(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, manager: Manager
) -> Iterator[Dom0]:
    watched = ["env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", f"WATCHDOG_USEC={WATCHDOG_USEC}"]
    with Dom0(
        tmp_path / "dom0", machine.url, pulse.address, options=[PATIENT], prefix=watched
    ) as dom0:
        manager.await_told("READY=1")
        yield dom0


def test_it_says_when_it_is_ready_and_what_it_does(
    dom0: Dom0, manager: Manager, new_guest: Callable[[str], Guest]
) -> None:
    work = new_guest("work")
    dom0.await_event("device_made", guest="work")
    with work.start("play", "-", stdin=[noise(1.5)]) as playing:
        told = manager.await_told("STATUS=1 guest; work plays")
        assert playing.ended().status == 0
    manager.await_told("STATUS=1 guest", after=told)


def test_it_goes_on_saying_that_it_lives(dom0: Dom0, manager: Manager) -> None:  # noqa: ARG001
    told = manager.await_told("WATCHDOG=1")
    manager.await_told("WATCHDOG=1", after=told)


def test_a_reload_is_over_when_the_policy_was_read(dom0: Dom0, manager: Manager) -> None:
    loaded = len(dom0.events("policy_loaded"))
    dom0.hang_up()
    told = manager.await_told("RELOADING=1")
    manager.await_told("READY=1", after=told)
    assert len(dom0.events("policy_loaded")) == loaded + 1


def test_it_says_that_it_ends(dom0: Dom0, manager: Manager) -> None:
    assert dom0.stop() == 0
    manager.await_told("STOPPING=1")


@pytest.mark.sound
def test_an_agent_that_hangs_is_taken_over_and_no_frame_is_lost(
    dom0: Dom0, manager: Manager, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    played = noise(2.5)
    work = new_guest("work")
    dom0.await_event("device_made", guest="work")
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(seconds_heard(1))
        told = len(manager.told)
        os.kill(dom0.agent_pid, signal.SIGSTOP)
        dom0.await_event("stream_taken_over", guest="work", domid=work.domid)
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    # The server had a quarter more than it wants, and played all of it.
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC * 5 // 4)) == 1
    assert "xensnd-dom0: the agent does not respond; the next one takes over" in dom0.log
    manager.await_told("READY=1", after=told)


def test_an_agent_that_hangs_while_it_ends_does_not_stay(dom0: Dom0) -> None:
    os.kill(dom0.agent_pid, signal.SIGSTOP)
    assert dom0.stop() == 128 + signal.SIGKILL
