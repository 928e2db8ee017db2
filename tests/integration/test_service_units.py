"""packaging/systemd/ as systemd reads it; the sandbox against what the agent asks of the kernel."""

from __future__ import annotations

import functools
import grp
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0, Guest, Running
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually

SYSTEMD = Path(__file__).parents[2] / "packaging/systemd"
DOM0_UNIT = SYSTEMD / "xensnd-dom0.service"
UNITS = sorted([*SYSTEMD.rglob("*.service"), *SYSTEMD.rglob("*.socket")])
EXPOSURE_MAX = 2.0
ASK = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: ask\n'

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def said(*command: str | Path) -> str:
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    """Its commands are not installed here: any other stands for them."""
    whose = "--user" if unit.parent.name == "user" else "--system"
    text = re.sub("/usr/(bin|lib/xensnd)/xensnd-", "/bin/true -", unit.read_text())
    (tmp_path / unit.name).write_text(text)
    analyze = ("env", f"XDG_RUNTIME_DIR={tmp_path}", "systemd-analyze", whose)
    assert said(*analyze, "verify", "--man=no", tmp_path / unit.name) == ""


def test_guests_service_ends_no_process_but_its_own() -> None:
    """One holds what a restore has cut off: Linux crashes whoever closes that."""
    assert "KillMode=process" in (SYSTEMD / "user/xensnd-guest.service").read_text().splitlines()


def test_journald_drops_no_record_of_the_agent_for_its_rate() -> None:
    assert "LogRateLimitIntervalSec=0" in DOM0_UNIT.read_text().splitlines()


def test_agents_sandbox_is_as_tight_as_promised() -> None:
    shown = said("systemd-analyze", "security", "--offline=yes", "--no-pager", DOM0_UNIT)
    found = re.search(r"Overall exposure level for xensnd-dom0.service: ([\d.]+)", shown)
    assert found, shown
    assert float(found[1]) < EXPOSURE_MAX


@functools.cache
def members(name: str) -> frozenset[str]:
    """Of a group of system calls, as systemd has it."""
    if not name.startswith("@"):
        return frozenset({name})
    lines = said("systemd-analyze", "syscall-filter", name).splitlines()[1:]
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    assert names, name
    return frozenset().union(*map(members, names))


def allowed() -> frozenset[str]:
    filters = re.findall(r"^SystemCallFilter=(.*)$", DOM0_UNIT.read_text(), re.MULTILINE)
    return frozenset().union(*(members(name) for line in filters for name in line.split()))


def test_filter_lets_nothing_through_that_would_widen_a_hole() -> None:
    groups = ["@module", "@mount", "@privileged", "@raw-io", "@reboot", "@swap", "@debug"]
    dangerous = frozenset().union(*map(members, groups)) - members("@chown")
    dangerous |= {"bpf", "io_uring_setup", "process_vm_readv", "setns", "unshare", "userfaultfd"}
    assert allowed() & dangerous == set()


class Traced:
    """An agent under strace."""

    def __init__(self, dom0: Dom0, trace: Path) -> None:
        self.dom0 = dom0
        self._trace = trace

    @property
    def supervisor(self) -> int:
        assert self.dom0.process is not None
        return _child(self.dom0.process.pid)

    @property
    def worker(self) -> int:
        return _child(self.supervisor)

    def stop(self) -> None:
        """strace ends with what it traces."""
        process, self.dom0.process = self.dom0.process, None
        assert process is not None
        os.kill(_child(process.pid), signal.SIGTERM)
        with process:
            process.wait(10)

    @property
    def calls(self) -> set[str]:
        return set(re.findall(r"^\d+ +(\w+)\(", self._trace.read_text(), re.MULTILINE))


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(eventually(lambda: children.read_text().split())[0])


@pytest.fixture
def traced(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Traced]:
    trace = tmp_path / "trace"
    with Dom0(
        tmp_path / "dom0",
        machine.url,
        pulse.address,
        policy=ASK,
        options=[PATIENT, f"--control-group={grp.getgrgid(os.getgid()).gr_name}"],
        prefix=["strace", "-f", "-qq", "-o", str(trace)],
    ) as dom0:
        traced = Traced(dom0, trace)
        yield traced
        if dom0.process is not None:  # the case has failed: strace alone would leave the agent
            traced.stop()


def answered(traced: Traced, recording: Running, answer: str) -> None:
    """The person says so once they are asked, and the guest hears."""
    asked = traced.dom0.await_event("prompt_shown")
    seen = {"guest": asked["XENSND_GUEST"], "direction": asked["XENSND_DIRECTION"]}
    traced.dom0.ask("answer", id=asked["XENSND_PROMPT"], answer=answer, **seen)
    recording.listen_until(lambda heard: heard.strip(b"\0"))


@needs_strace
def test_all_that_the_agent_asks_of_the_kernel_is_allowed(
    traced: Traced, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    dom0, work, other = traced.dom0, new_guest("work"), new_guest("other")
    dom0.await_event("device_made", guest="work")
    with (
        pulse.microphone(noise(20)),
        pulse.listening() as ears,
        work.start("play", "-", stdin=[noise(30)]),
        other.start("record", "-", "--seconds=30") as recording,
    ):
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        answered(traced, recording, "always")
        assert eventually(lambda: "guest: other" in dom0.policy_file.read_text())
        taken = len(dom0.events("stream_taken_over"))
        os.kill(traced.worker, signal.SIGKILL)
        dom0.await_event("stream_taken_over", count=taken + 2)
        with dom0.one_more("policy_loaded"):
            os.kill(traced.supervisor, signal.SIGHUP)
    traced.stop()
    assert traced.calls - allowed() == set()
    assert {"chown", "clone", "fsync", "memfd_create", "pidfd_open", "rename"} <= traced.calls
