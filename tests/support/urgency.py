"""Real-time scheduling for what sounds, where we may ask for it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from enum import IntEnum


def give_way() -> bool:
    """Whether these tests run beside others that sound: `chrt --idle 0`, as in the Makefile."""
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def may_be_urgent() -> bool:
    if give_way():
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
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
    if give_way():
        return process
    with suppress(PermissionError, ProcessLookupError):
        os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(urgency))
    return process


def urgent_thread(urgency: Urgency) -> None:
    """The same for the thread that calls this."""
    if not give_way():
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(urgency))
