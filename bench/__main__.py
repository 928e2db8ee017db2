"""`python -m bench`: the dom0 agent beside bare clients of the audio server, and beside others.

N guests of one kind play or record, and beside them N bare C clients of one kind, with the same
format, the same sound, and the same buffer attributes. Each case has several rounds; in each round
all subjects have a turn, so that they meet the same machine. Only the ratios within one run count.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cases import PARTS, Case, cases
from bench.checkout import ROOT, Checkout, NotACheckoutError
from bench.figures import Figures
from bench.processes import build_probe
from bench.results import Results
from bench.stage import Settings, SubjectFailedError, set_up
from bench.subjects import Agent, Bare, Command, Served, Subject, Tunnel
from bench.table import beside, head, row

PEER = """a command that plays, once for each stream: the shell runs it with PULSE_SERVER and
PULSE_SINK set, and {latency} in it stands for the milliseconds that --latency asks for, {stream}
for the stream's number. It reads 48 kHz stereo S16 from standard input, without an end, and ends at
SIGTERM. Its latency counts from the write into that pipe, which holds 21 ms"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--streams", type=_counts, default=[1, 4, 16, 60], metavar="N,N",
                        help="default 1,4,16,60")  # fmt: skip
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,PART",
                        help=f"of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn; default 4")
    parser.add_argument("--latency", type=int, default=20, metavar="MS", help="default 20")
    parser.add_argument("--realtime", action="store_true",
                        help="use SCHED_RR for all; default: SCHED_OTHER")  # fmt: skip
    parser.add_argument("--compare", type=Path, action="append", default=[], metavar="CHECKOUT",
                        help="another checkout of this project, set up by its tools/setup-env; "
                        "may be repeated")  # fmt: skip
    parser.add_argument("--peer", action="append", default=[], metavar="COMMAND", help=PEER)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser.parse_args(arguments)


def _counts(text: str) -> list[int]:
    counts = [int(word) for word in text.split(",")]
    if not all(1 <= count <= 200 for count in counts):
        raise argparse.ArgumentTypeError(f"{text}: give numbers of streams, 1 to 200")
    return counts


def _parts(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name}: there are {', '.join(PARTS)}")
    return names


def subjects(options: argparse.Namespace) -> list[Subject]:
    """The first one that does a part is compared with the others."""
    ours = Checkout.at(ROOT)
    others = [Checkout.at(root) for root in options.compare]
    named = [(ours, "xensnd"), *((other, f"xensnd at {other.name}") for other in others)]
    return [
        *(Agent(checkout, name) for checkout, name in named),
        *(Served(checkout, f"{name}, served") for checkout, name in named),
        Bare(),
        Tunnel(),
        *(Command(command, f"peer {command.split()[0]}") for command in options.peer),
    ]


def turn(case: Case, subject: Subject, directory: Path, settings: Settings) -> Figures:
    with set_up(case, directory, settings) as stage, subject.performing(stage) as pids:
        if case.part.is_idle:
            stage.suspend()
        time.sleep(case.part.settle_seconds)
        window = stage.watch(pids)
    return stage.figures(window)


def run(options: argparse.Namespace, directory: Path) -> Results:
    prefix = ("chrt", "--rr", "1") if options.realtime else ()
    settings = Settings(build_probe(directory), options.seconds, options.latency, prefix)
    everyone = subjects(options)
    results = Results(options)
    turns = itertools.count()
    for case in cases(options.only, options.streams):
        taking_part = [subject for subject in everyone if subject.does(case.part)]
        for _ in range(options.rounds):
            for subject in taking_part:
                where = directory / f"{next(turns)}"
                try:
                    results.add(case, subject.name, turn(case, subject, where, settings))
                except (SubjectFailedError, RuntimeError) as error:
                    raise SubjectFailedError(f"{case.title}: {subject.name}: {error}") from None
        print(f"\n{case.title}")
        show(results, case)
        results.write(options.json)
    return results


def show(results: Results, case: Case) -> None:
    found = results.of(case)
    for name, rounds in found.items():
        print(row(name, rounds))
    (_, ours), *others = found.items()
    for name, rounds in others:
        print(beside(ours, name, rounds), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    print(
        f"48 kHz stereo S16, {options.latency} ms asked, {options.rounds} rounds of "
        f"{options.seconds:g} s, {'SCHED_RR' if options.realtime else 'SCHED_OTHER'}"
    )
    print(head(), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
            run(options, Path(name))
    except (NotACheckoutError, SubjectFailedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
