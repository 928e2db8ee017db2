"""Real-time scheduling for what sounds, where we may ask for it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from shutil import which

PREFERRED = -15  # as nice(1) has it


def give_way() -> bool:
    """Whether these tests run beside others that sound: `chrt --idle 0`, as in the Makefile."""
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def is_beside_another() -> bool:
    """Whether another case that sounds may run at the same time."""
    return "PYTEST_XDIST_WORKER" in os.environ


def may_be_urgent() -> bool:
    if give_way() or not _schedule([os.getpid()], Urgency.SOUNDING):
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


class Urgency(IntEnum):
    """The real-time priority of agents and of servers. Guests have none, nor have agents of which
    another sounds beside: what computes for long, as an interpreter that loads, would hold up its
    equals for 100 ms. Without it they share the processors in slices of some ms."""

    SOUNDING = 1
    SERVER = 2


def urgent(process: subprocess.Popen[bytes], urgency: Urgency) -> subprocess.Popen[bytes]:
    """The process, with what it starts from now on, comes before all others, where we may say so. A
    machine that is shared leaves others waiting for up to 250 ms, which is longer than buffers
    last."""
    _urgent(process.pid, urgency)
    return process


def preferred(pid: int) -> None:
    """The process comes before others that are not urgent, where we may say so. For what may be
    kept busy without an end, and so must not be urgent."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, PREFERRED)


def urgent_family(pid: int, urgency: Urgency) -> None:
    """The same for a process and all that it has started."""
    _urgent(pid, urgency)
    for child in children(pid):
        urgent_family(child, urgency)


def children(pid: int) -> list[int]:
    """Those of all its threads that are there now."""
    found: list[str] = []
    for thread in _threads(pid):
        with suppress(OSError):  # it has ended
            found += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [int(child) for child in found]


def _threads(pid: int) -> list[int]:
    with suppress(OSError):  # it has ended
        return [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    return []


def _urgent(pid: int, urgency: Urgency) -> None:
    if not give_way():
        _schedule(_threads(pid), urgency)


def _schedule(threads: list[int], urgency: Urgency) -> bool:
    """Whether they get this priority: from root, or from a sudo that asks no password."""
    try:
        for thread in threads:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(urgency))
    except PermissionError:
        each = f"for thread; do chrt --rr --pid {int(urgency)} $thread; done"
        command = ["sudo", "-n", "sh", "-c", each, "sh", *map(str, threads)]
        return (
            bool(which("sudo"))
            and not subprocess.run(command, capture_output=True, check=False).returncode
        )
    return True
