"""`python3 -m tests.xen.shows_where agent_dom0.cli ...`: on SIGUSR1 each of its processes shows on
standard error where its threads are."""

from __future__ import annotations

import faulthandler
import runpy
import signal
import sys

if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
