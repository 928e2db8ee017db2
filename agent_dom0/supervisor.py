"""Keeps an agent running: when one dies, the next takes over within milliseconds.

The supervisor has loaded everything the agent needs and does nothing but wait; an agent is a fork
of it. Started afresh, an interpreter would be back too late: a stock driver that waits for a
period gives up after 100 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

_PR_SET_PDEATHSIG = 1

# An agent that does not live so long does not get a successor at once: it would die of the same.
LIVES_AT_LEAST_SECONDS = 1.0
PATIENCE_SECONDS = 1.0

# EX_SOFTWARE of sysexits.h: an exception that nobody expected.
CRASHED = 70


def supervise(work: Callable[[], int]) -> int:
    """Runs `work` in a child until it ends by itself; its exit status. A child that is killed, or
    crashes, is followed by another."""
    stopping = False
    child = 0

    def pass_on(signum: int, _frame: object) -> None:
        nonlocal stopping
        stopping = stopping or signum in (signal.SIGTERM, signal.SIGINT)
        if child:
            os.kill(child, signum)

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {signum: signal.signal(signum, pass_on) for signum in signals}
    while True:
        started = time.monotonic()
        # A signal must not fall between the fork and our knowing the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        child = os.fork()
        if child == 0:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            _be_the_child(work)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        _, status = os.waitpid(child, 0)
        child = 0
        code = os.waitstatus_to_exitcode(status)
        if stopping or (code >= 0 and code != CRASHED):
            return code if code >= 0 else 128 - code
        why = "an error of its own" if code == CRASHED else signal.Signals(-code).name
        print(f"xensnd-dom0: the agent died of {why}; the next takes over", file=sys.stderr)
        if time.monotonic() - started < LIVES_AT_LEAST_SECONDS:
            time.sleep(PATIENCE_SECONDS)


def _be_the_child(work: Callable[[], int]) -> NoReturn:
    # Without its supervisor an agent would stand in the way of the next one.
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    status = CRASHED
    try:
        status = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
