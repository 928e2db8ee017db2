"""Rounds and their figures: statistics, lines, and the file."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from bench import chart
from bench.attributes import asked
from bench.cases import PARTS, Case
from bench.figures import Figures, Spread, difference, ratio, spread
from bench.remarks import attributes
from bench.results import Results
from bench.table import beside, head, row

FIGURES = Figures(
    cpu_ms=4.0,
    wakeups=200.0,
    interpreter_wakeups=1.0,
    server_cpu_ms=30.0,
    server_wakeups=300.0,
    memory_mib=36.0,
)
OPTIONS = Namespace(seconds=3.0, rounds=2, latency=20, realtime=False)
PLAYBACK = Case(PARTS["playback"], 4)


def rounds(*cpu_ms: float) -> list[Figures]:
    return [replace(FIGURES, cpu_ms=each) for each in cpu_ms]


def test_a_spread_is_minimum_median_and_maximum() -> None:
    assert spread(rounds(3, 1, 8), "cpu_ms") == Spread(1, 3, 8)


def test_what_was_not_measured_is_left_out_of_a_spread() -> None:
    assert Spread.of([None, 2.0, math.nan, 4.0]) == Spread(2, 3, 4)
    assert spread(rounds(1), "latency_p99_ms") is None


def test_rounds_are_compared_in_pairs() -> None:
    # The machine was ten times slower in the second round, for both.
    assert ratio(rounds(2, 20), rounds(1, 10), "cpu_ms") == Spread(2, 2, 2)
    assert difference(rounds(2, 20), rounds(1, 10), "cpu_ms") == Spread(1, 5.5, 10)


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio(rounds(2), rounds(0), "cpu_ms") is None


def test_a_row_has_each_figure_below_its_heading() -> None:
    line = row("xensnd", rounds(3, 1, 8))
    first, second = head().splitlines()
    assert line.startswith("xensnd")
    assert "1.00/3.00/8.00" in line
    assert len(line) == len(first) == len(second)
    assert line.endswith("-")  # frames were not counted


def test_a_comparison_says_how_many_times_as_much() -> None:
    assert "CPU 2.00/2.00/2.00 x" in beside(rounds(2, 20), "bare clients", rounds(1, 10))


def test_json_has_every_figure_of_every_round(tmp_path: Path) -> None:
    results = Results(OPTIONS)
    for figures in rounds(1, 2):
        results.add(PLAYBACK, "xensnd", replace(figures, latency_p99_ms=math.nan))
    results.add(PLAYBACK, "bare clients", FIGURES)
    results.write(tmp_path / "figures.json")
    ours, bare = json.loads((tmp_path / "figures.json").read_text())["cases"]
    assert (ours["part"], ours["streams"], ours["subject"]) == ("playback", 4, "xensnd")
    assert [each["cpu_ms"] for each in ours["rounds"]] == [1, 2]
    assert ours["rounds"][0]["latency_p99_ms"] is None  # JSON has no "not a number"
    assert bare["rounds"][0]["wakeups"] == 200


def test_results_are_found_by_streams() -> None:
    results = Results(OPTIONS)
    for streams in (1, 4):
        results.add(Case(PARTS["playback"], streams), "xensnd", FIGURES)
    results.add(Case(PARTS["idle"], 1), "xensnd", FIGURES)
    assert results.over_streams("playback") == {"xensnd": {1: [FIGURES], 4: [FIGURES]}}


def test_a_subject_that_fails_is_left_out_and_named_with_the_reason() -> None:
    results = Results(OPTIONS)
    for subject in ("xensnd", "bare clients"):
        results.add(PLAYBACK, subject, FIGURES)
    results.fail(PLAYBACK, "bare clients", "a process of it has ended")
    assert results.of(PLAYBACK) == {"xensnd": [FIGURES]}
    assert results.failures(PLAYBACK) == {"bare clients": "a process of it has ended"}
    (failure,) = results.as_json()["failures"]
    assert (failure["streams"], failure["reason"]) == (4, "a process of it has ended")


PLAYING = """\
I: [pulseaudio] protocol-native.c: Requested tlength=20.00 ms, minreq=5.00 ms
I: [pulseaudio] protocol-native.c: Final latency 20.00 ms = 5.00 ms + 2*5.00 ms + 5.00 ms
"""
RECORDING = "I: [pulseaudio] protocol-native.c: Final latency 20.00 ms = 10.00 ms + 10.00 ms\n"


def test_the_audio_servers_log_says_what_was_asked_of_it() -> None:
    log = PLAYING + PLAYING + RECORDING
    assert asked(log, records=False) == "tlength=20.00 ms, minreq=5.00 ms"
    assert asked(log, records=True) == "fragsize=10.00 ms"


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ("tlength=20", "- playback: all asked for tlength=20."),
        (
            "tlength=40",
            "- playback: NOT THE SAME was asked: xensnd for tlength=20, bare clients for "
            "tlength=40.",
        ),
    ],
)
def test_the_remarks_say_whether_all_asked_for_the_same(theirs: str, said: str) -> None:
    results = Results(OPTIONS)
    results.add(PLAYBACK, "xensnd", replace(FIGURES, asked="tlength=20"))
    results.add(PLAYBACK, "bare clients", replace(FIGURES, asked=theirs))
    assert attributes(results) == [said]


def test_a_picture_without_matplotlib_is_refused_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(chart.NoMatplotlibError, match=r"^--png needs matplotlib; install it with"):
        chart.require()
