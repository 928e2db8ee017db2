"""For how long a processor ran nothing of this machine, or nothing but the kernel: see stalls.c.

What is heard in 20 ms is lost in such a time, whoever plays it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import build_stalls, running

_STALL = struct.Struct("=qq")


class Stalls:
    def __init__(self, log: Path) -> None:
        self._log = log

    def longest_ms(self, since_ns: int, until_ns: int) -> float:
        """Return the longest that there was in this time, of any processor. Not a number: it could
        not be watched."""
        if not self._log.exists():
            return float("nan")
        data = self._log.read_bytes()
        whole = len(data) // _STALL.size * _STALL.size
        stalls = _STALL.iter_unpack(data[:whole])
        return max(
            ((woke - due) / 1e6 for due, woke in stalls if woke > since_ns and due < until_ns),
            default=0.0,
        )


@contextmanager
def watched_stalls(directory: Path) -> Iterator[Stalls]:
    """While the block runs."""
    log = directory / "stalls.log"
    with running(str(build_stalls(directory)), str(log)):
        yield Stalls(log)
