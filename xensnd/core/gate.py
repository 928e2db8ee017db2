"""The microphone's gate of a stream that another process serves: see gate.h."""

from __future__ import annotations

import mmap

from ._core import ffi, lib

GATE_OCTETS = int(ffi.sizeof("struct xn_gate"))
NO_DEADLINE = 2**63 - 1


def deadline(until_usec: int | None) -> int:
    """Return it as the core takes it; None: never."""
    return NO_DEADLINE if until_usec is None else max(0, min(until_usec, NO_DEADLINE))


class Gate:
    """`memory` has GATE_OCTETS octets at `offset`, which the stream's process shares."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = ffi.from_buffer(memory)  # stays mapped as long
        self._gate = ffi.cast("struct xn_gate *", self._memory + offset)

    def open(self, until_usec: int | None = None) -> None:
        """As BackendStream.open_gate()."""
        lib.xn_gate_open(self._gate, deadline(until_usec))

    def close(self, *, within_usec: int) -> bool:
        """Close it. Returns whether no microphone data passes from now on; otherwise the other
        process still copies a part, or hangs in that, and is to be ended."""
        return bool(lib.xn_gate_close_within(self._gate, within_usec))
