"""Figures of runs, and what several rounds say of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. None: it was not measured."""

    cpu_ms: float  # a second of a stream; a second of all if there is no stream
    wakeups: float  # a second of all, as what follows
    interpreter_wakeups: float
    server_cpu_ms: float
    server_wakeups: float
    memory_mib: float
    latency_median_ms: float | None = None
    latency_p99_ms: float | None = None
    lost_frames: int | None = None
    repeated_frames: int | None = None
    asked: str = ""  # of the audio server

    def as_json(self) -> dict[str, Any]:
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Spread:
    minimum: float
    median: float
    maximum: float

    @staticmethod
    def of(values: Iterable[float | None]) -> Spread | None:
        """None: nothing was measured."""
        known = [each for each in values if each is not None and not math.isnan(each)]
        if not known:
            return None
        return Spread(min(known), statistics.median(known), max(known))


def spread(rounds: Sequence[Figures], name: str) -> Spread | None:
    return Spread.of(getattr(each, name) for each in rounds)


def _paired(
    ours: Sequence[Figures],
    others: Sequence[Figures],
    name: str,
    compare: Callable[[float, float], float],
) -> Spread | None:
    """Rounds are compared in pairs: what is measured together had the same machine."""
    pairs = ((getattr(a, name), getattr(b, name)) for a, b in zip(ours, others, strict=False))
    return Spread.of(None if a is None or b is None else compare(a, b) for a, b in pairs)


def ratio(ours: Sequence[Figures], others: Sequence[Figures], name: str) -> Spread | None:
    return _paired(ours, others, name, lambda a, b: a / b if b else math.nan)


def difference(ours: Sequence[Figures], others: Sequence[Figures], name: str) -> Spread | None:
    return _paired(ours, others, name, lambda a, b: a - b)
