"""Event channels that were open when the domain was saved and restored. Linux crashes a process
that closes one, and leaves it half dead: drivers/xen/evtchn.c, BUG_ON(irq < 0). So they stay open.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection


def keep_open(fds: Collection[int]) -> None:
    """Pass the descriptors to a process that never ends, so that the caller may close its own and
    exit."""
    subprocess.Popen(
        ["sleep", "infinity"],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
