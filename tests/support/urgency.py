"""Real-time scheduling for what sounds, where we may ask for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from shutil import which

PREFERRED = -15  # as nice(1) has it


def give_way() -> bool:
    """Whether these tests run beside others that sound: `chrt --idle 0`, as in the Makefile."""
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def may_be_urgent() -> bool:
    if give_way() or not _schedule([os.getpid()], 1):
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


class Urgency(IntEnum):
    """What starts must not hold up what sounds, and that not what everything sounds through."""

    GUEST = 1
    SOUNDING = 2
    SERVER = 3


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


@contextmanager
def urgent_here(urgency: Urgency) -> Iterator[None]:
    """The same for this process until the block ends. A guest that is a thread of it waits for the
    interpreter, and so for whichever thread has that."""
    if give_way():
        yield
        return
    _schedule(_threads(os.getpid()), urgency)
    try:
        yield
    finally:
        for thread in _threads(os.getpid()):
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _schedule(threads: list[int], priority: int) -> bool:
    """Whether they get this real-time priority: from root, or from a sudo that asks no password."""
    try:
        for thread in threads:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(priority))
    except PermissionError:
        each = "for thread; do chrt --rr --pid {priority} $thread; done"
        command = ["sudo", "-n", "sh", "-c", each.format(priority=int(priority)), "sh"]
        return (
            bool(which("sudo"))
            and not subprocess.run(
                [*command, *map(str, threads)], capture_output=True, check=False
            ).returncode
        )
    return True
