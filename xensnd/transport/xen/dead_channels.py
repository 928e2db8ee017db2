"""Event channels that a restore has cut off. Linux crashes a process that closes one, and leaves
it half dead: drivers/xen/evtchn.c, BUG_ON(irq < 0). So none is ever closed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection


def keep_open(fds: Collection[int]) -> None:
    """In a process of their own that nobody ends, so that the caller may close them and exit."""
    subprocess.Popen(
        ["sleep", "infinity"],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
