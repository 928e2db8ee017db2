"""The bench's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.cases import PARTS

DESCRIPTION = """\
Compare the dom0 agent with bare clients of the audio server. N guests of one kind play or record,
and N bare C clients of one kind do the same with the same format, sound and buffer attributes. In
each round every subject has a turn, so that all of them meet the same machine. Only ratios within
one run count; nothing is asserted. docs/bench.md says how to read the figures."""
PEER = """\
a command that plays, as one more subject; may be repeated. The shell runs it once for each stream,
with PULSE_SERVER and PULSE_SINK set; in it {latency} stands for the milliseconds of --latency, and
{stream} for the stream's number from 0 on. It reads 48 kHz stereo S16_LE from standard input,
without an end, and ends at SIGTERM. Its latency counts from the write into that pipe, which holds
21 ms. Example: 'pacat --raw --rate=48000 --latency-msec={latency}'"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Exits with status 2 and one line if an option is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=DESCRIPTION)

    def add(option: str, **how: object) -> None:
        parser.add_argument(option, **how)  # type: ignore[arg-type]

    add(
        "--streams",
        type=stream_counts,
        default=[1, 4, 16, 60],
        metavar="N,N",
        help="numbers of streams (default 1,4,16,60)",
    )
    add(
        "--only",
        type=part_names,
        default=list(PARTS),
        metavar="PART,PART",
        help=f"parts of the bench (default: all of them, {','.join(PARTS)})",
    )
    add("--rounds", type=positive, default=3, metavar="N", help="turns of each subject (default 3)")
    add("--seconds", type=seconds, default=3.0, metavar="S", help="of each turn (default 3)")
    add(
        "--latency",
        type=positive,
        default=20,
        metavar="MS",
        help="what the audio server is asked for (default 20)",
    )
    add(
        "--realtime",
        action="store_true",
        help="schedule agents, guests and clients by SCHED_RR (default: SCHED_OTHER)",
    )
    add(
        "--compare",
        type=Path,
        action="append",
        default=[],
        metavar="CHECKOUT",
        help="another checkout of this project as one more subject, set up by its own "
        "tools/setup-env; may be repeated",
    )
    add("--peer", type=command, action="append", default=[], metavar="COMMAND", help=PEER)
    add("--json", type=Path, metavar="FILE", help="write all figures of all rounds")
    add("--png", type=Path, metavar="FILE", help="draw CPU and latency over streams (matplotlib)")
    return parser.parse_args(arguments)


def command(text: str) -> str:
    if not text.split():
        raise argparse.ArgumentTypeError("give a command that plays what it reads")
    return text


def stream_counts(text: str) -> list[int]:
    counts = _numbers(text)
    if not counts or not all(1 <= count <= 200 for count in counts):
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers from 1 to 200, as in 1,4,16")
    return counts


def part_names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is no part; give {','.join(PARTS)}")
    return names


def positive(text: str) -> int:
    numbers = _numbers(text)
    if len(numbers) != 1 or not 1 <= numbers[0] <= 2000:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 1 to 2000")
    return numbers[0]


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}: give 0.1 to 3600 seconds")
    return value


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    return [int(word) for word in words] if all(word.isdecimal() for word in words) else []
