"""Finds which numbers are missing in a row of numbers, whatever their order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise


@dataclass(slots=True)
class Run:
    """Numbers without a gap, and the times of the first and the last."""

    first: int
    last: int
    begun: datetime | None
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Gap:
    """The missing numbers, and the times of their neighbours."""

    first: int
    last: int
    after: datetime | None
    before: datetime | None

    @property
    def missing(self) -> int:
        return self.last - self.first + 1


class NumberRow:
    """Needs memory for the gaps only."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def add(self, number: int, when: datetime | None) -> None:
        runs = self._runs
        place = bisect_right(runs, number, key=lambda run: run.first)
        if place > 0 and number <= runs[place - 1].last:
            return  # it was there already
        runs.insert(place, Run(number, number, when, when))
        self._join(place)
        self._join(place - 1)

    def _join(self, place: int) -> None:
        """Make one run of this one and the next, if no number is between them."""
        neighbours = self._runs[max(place, 0) : place + 2]
        if len(neighbours) == 2 and neighbours[0].last + 1 == neighbours[1].first:
            run, following = neighbours
            run.last, run.ended = following.last, following.ended
            del self._runs[place + 1]

    @property
    def whole(self) -> Run:
        """From the first number to the last, gaps and all."""
        first, last = self._runs[0], self._runs[-1]
        return Run(first.first, last.last, first.begun, last.ended)

    def gaps(self) -> Iterator[Gap]:
        for run, following in pairwise(self._runs):
            yield Gap(run.last + 1, following.first - 1, run.ended, following.begun)
