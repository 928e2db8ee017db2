"""The work that one guest may cause in the audio thread: see budget.h."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ._core import ffi, lib

CONTROL_REQUESTS_A_SECOND = int(lib.XN_CONTROL_REQUESTS_A_SECOND)
OPEN_COUNTS_AS = int(lib.XN_OPEN_COUNTS_AS)

USUAL_PERCENT = 100  # of a budget


@dataclass(frozen=True, slots=True)
class BudgetStats:
    """Counts since the budget was made. `engine_usec` is estimated, not measured. `pauses` is how
    often the guest went over its budget, `paused_usec` the length of all these pauses."""

    requests: int
    refused: int
    notifications: int
    engine_usec: int
    pauses: int
    paused_usec: int


class Budget:
    """Shared by all streams of one guest, which keep it for as long as they are there.

    The engine wakes Python when the guest goes over it.
    """

    def __init__(self) -> None:
        handle = lib.xn_budget_new()
        if handle == ffi.NULL:
            raise MemoryError
        self.handle: Any = ffi.gc(handle, lib.xn_budget_free)
        self._stats = ffi.new("struct xn_budget_stats *")

    def set_percent(self, percent: int) -> None:
        """Give the guest so much of the usual budget, from now on."""
        lib.xn_budget_set_percent(self.handle, percent)

    @property
    def pauses(self) -> int:
        """Return the count alone: it is asked for each stream at each event of the engine."""
        lib.xn_budget_stats(self.handle, self._stats)
        return int(self._stats.pauses)

    def stats(self) -> BudgetStats:
        """Return the counts, without waiting for the engine."""
        struct = ffi.new("struct xn_budget_stats *")
        lib.xn_budget_stats(self.handle, struct)
        return BudgetStats(*(int(getattr(struct, field.name)) for field in fields(BudgetStats)))
