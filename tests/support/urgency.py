"""Real-time scheduling for what sounds, where we may ask for it."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from enum import IntEnum
from shutil import which


def give_way() -> bool:
    """Whether these tests run beside others that sound: `chrt --idle 0`, as in the Makefile."""
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def may_be_urgent() -> bool:
    if give_way() or not _schedule(os.getpid(), 1):
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


class Urgency(IntEnum):
    """What starts must not hold up what sounds, and that not what everything sounds through."""

    GUEST = 1
    SOUNDING = 2
    SERVER = 3


def urgent(process: subprocess.Popen[bytes], urgency: Urgency) -> subprocess.Popen[bytes]:
    """The process and its children come before all others, where we may say so. A machine that is
    shared leaves others waiting for up to 250 ms, which is longer than buffers last."""
    if not give_way():
        with suppress(ProcessLookupError):
            _schedule(process.pid, urgency)
    return process


def urgent_thread(urgency: Urgency) -> None:
    """The same for the thread that calls this."""
    if not give_way():
        _schedule(threading.get_native_id(), urgency)


def _schedule(pid: int, priority: int) -> bool:
    """Whether it gets this real-time priority: from root, or from a sudo that asks no password."""
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(priority))
    except PermissionError:
        command = ["sudo", "-n", "chrt", "--all-tasks", "--rr", "--pid", str(priority), str(pid)]
        return (
            bool(which("sudo"))
            and not subprocess.run(command, capture_output=True, check=False).returncode
        )
    return True
