"""The core's filter of system calls for a process that handles a guest's octets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ._core import ffi, lib


def filter_system_calls(ioctls: Sequence[int], *, network: bool) -> None:
    """Confine this thread and all that it starts, for ever: see confine.h.

    `ioctls` are the commands that are needed beside harmless ones. Raises OSError.
    """
    status = lib.xn_confine(ffi.new("uint32_t[]", list(ioctls)), len(ioctls), network)
    if status:
        raise OSError(-status, f"a filter of system calls: {os.strerror(-status)}")
