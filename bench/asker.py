"""Who asks over the control socket, so that the answers are late by the agent alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.urgency import Urgency


@contextmanager
def real_time() -> Iterator[None]:
    """In the block this thread waits for nobody but the audio server, where we may say so."""
    usual = os.sched_param(0)
    try:
        priority = os.sched_param(Urgency.SOUNDING)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, priority)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, usual)
