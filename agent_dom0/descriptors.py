"""File descriptors, of which a process has a fixed number: RLIMIT_NOFILE, or LimitNOFILE= of the
unit.

Guests' streams take most of them. Some are kept back from streams, so that the control socket, the
policy files, the audit trail and the mixer go on working when guests have taken the rest.
"""

from __future__ import annotations

import os
import resource

from xensnd.errors import LimitReached

# 32 connections to the control socket for each of three users, and 32 for the agent itself: for
# policy files, the audit trail, the mixer and a new connection to XenStore.
RESERVED = 128

# What a stream of a card takes. On Xen: two event channels and its saved state. On `local:` an
# event channel is two eventfds.
A_STREAM = 5


def require_free(count: int, *, reserved: int = 0) -> None:
    """Check that so many can be opened, and that as many as are reserved are left after that.
    LimitReached: they cannot. OSError: there is none left even to count them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) - 1  # without the one that lists them
    if used + count + reserved > limit:
        raise LimitReached(
            f"{count} file descriptors are needed, and too few of {limit} are left"
            + (f"; {reserved} are reserved" if reserved else "")
        )
