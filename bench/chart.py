"""CPU and latency over the number of streams, as a picture. Of the bench, only this needs
matplotlib, and only if a picture is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.cases import PARTS
from bench.figures import Figures, spread
from bench.results import Results

INCHES = (15, 9)
PANELS = (
    ("playback", "cpu_ms", "CPU, ms a stream-second"),
    ("capture", "cpu_ms", "CPU, ms a stream-second"),
    ("playback", "server_cpu_ms", "audio server's CPU, ms a second"),
    ("heard", "latency_median_ms", "latency, ms: median, and p99 dotted"),
    ("capture", "latency_median_ms", "latency, ms: median, and p99 dotted"),
    ("playback", "wakeups", "wakeups a second"),
)


class NoMatplotlibError(Exception):
    """The picture cannot be drawn."""


def require() -> Any:
    """matplotlib, which draws into files. NoMatplotlibError: it is not installed."""
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError:
        raise NoMatplotlibError(
            "--png needs matplotlib; install it with: tools/setup-env bench"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot


def draw(results: Results, path: Path) -> None:
    pyplot = require()
    figure, rows = pyplot.subplots(2, 3, figsize=INCHES, layout="constrained")
    for axes, (part, name, unit) in zip(rows.flat, PANELS, strict=True):
        axes.set_title(PARTS[part].says, fontsize=9)
        axes.set_xlabel("streams")
        axes.set_ylabel(unit)
        for subject, found in results.over_streams(part).items():
            _draw_line(axes, subject, found, name)
        if axes.lines:
            axes.legend(fontsize=8)
            axes.set_xticks(results.streams(part))
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path)
    pyplot.close(figure)


def _draw_line(axes: Any, subject: str, found: dict[int, list[Figures]], name: str) -> None:
    """The medians, with bars from the minimum to the maximum."""
    spreads = [(count, each) for count, rounds in found.items() if (each := spread(rounds, name))]
    if not spreads:
        return
    counts = [count for count, _ in spreads]
    medians = [each.median for _, each in spreads]
    below = [each.median - each.minimum for _, each in spreads]
    above = [each.maximum - each.median for _, each in spreads]
    line = axes.errorbar(counts, medians, (below, above), label=subject, marker="o", capsize=3)
    if name == "latency_median_ms":
        worst = [spread(found[count], "latency_p99_ms") for count in counts]
        medians = [each.median if each else math.nan for each in worst]
        axes.plot(counts, medians, linestyle=":", color=line[0].get_color())
