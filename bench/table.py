"""Figures as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Figures, Spread, difference, ratio, spread

NAME_WIDTH = 28
# Heading, unit, the figure's name, its width, and how many digits follow the point.
COLUMNS = (
    ("CPU, ms a", "stream-second", "cpu_ms", 20, 2),
    ("wakeups", "a second", "wakeups", 18, 0),
    ("server's CPU,", "ms a second", "server_cpu_ms", 19, 1),
    ("memory", "MiB", "memory_mib", 18, 1),
    ("latency", "median, ms", "latency_median_ms", 18, 1),
    ("latency", "p99, ms", "latency_p99_ms", 18, 1),
    ("frames", "lost", "lost_frames", 14, 0),
)


def head() -> str:
    first = "".join(f"{column[0]:>{column[3]}}" for column in COLUMNS)
    second = "".join(f"{column[1]:>{column[3]}}" for column in COLUMNS)
    return f"{'minimum/median/maximum':{NAME_WIDTH}}{first}\n{'':{NAME_WIDTH}}{second}"


def row(name: str, rounds: Sequence[Figures]) -> str:
    cells = (
        f"{_numbers(spread(rounds, figure), digits):>{width}}"
        for _, _, figure, width, digits in COLUMNS
    )
    return f"{name:{NAME_WIDTH}}{''.join(cells)}"


def _numbers(found: Spread | None, digits: int) -> str:
    if found is None:
        return "-"
    numbers = (found.minimum, found.median, found.maximum)
    return "/".join(f"{number:.{digits}f}" for number in numbers)


def beside(ours: Sequence[Figures], name: str, others: Sequence[Figures]) -> str:
    """How ours compares with others of the same rounds."""
    said = [
        f"{what} {_numbers(found, 2)} x"
        for what, figure in (
            ("CPU", "cpu_ms"),
            ("wakeups", "wakeups"),
            ("server's CPU", "server_cpu_ms"),
        )
        if (found := ratio(ours, others, figure)) is not None
    ]
    said += [
        f"{what} {found.minimum:+.1f}/{found.median:+.1f}/{found.maximum:+.1f} {unit}"
        for what, figure, unit in (
            ("latency", "latency_median_ms", "ms"),
            ("p99", "latency_p99_ms", "ms"),
            ("memory", "memory_mib", "MiB"),
        )
        if (found := difference(ours, others, figure)) is not None
    ]
    return f"   beside {name}: {', '.join(said)}"
