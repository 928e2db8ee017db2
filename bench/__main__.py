"""`python -m bench`: the dom0 agent beside bare clients of the audio server, and beside others.

options.py says what it does, docs/bench.md how to read what it prints.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import attributes, chart
from bench.cases import Case, cases
from bench.checkout import ROOT, Checkout, NotACheckoutError
from bench.figures import Figures
from bench.options import parse
from bench.processes import build_probe
from bench.remarks import remarks
from bench.results import Results
from bench.stage import Settings, SubjectFailedError, set_up
from bench.subjects import Agent, Bare, Command, Served, Subject, Tunnel
from bench.table import beside, head, row


def subjects(options: argparse.Namespace) -> list[Subject]:
    """The first one that takes part in a case is compared with the others."""
    checkouts = {"xensnd": Checkout.at(ROOT)}
    for number, root in enumerate(options.compare, start=1):
        other = Checkout.at(root)
        checkouts[f"{number}: {other.root.name} at {other.name}"] = other
    return [
        *(Agent(checkout, name) for name, checkout in checkouts.items()),
        *(Served(checkout, f"{name}, served") for name, checkout in checkouts.items()),
        Served(checkouts["xensnd"], "xensnd, PipeWire served", has_pipewire=True),
        Served(
            checkouts["xensnd"],
            "xensnd, PipeWire's own",
            has_pipewire=True,
            plays_by_pipewire=True,
        ),
        Bare("bare clients"),
        Bare("bare clients, fed", "relay"),
        Bare("bare clients, paced", "pace"),
        Tunnel(),
        *(
            Command(command, f"peer {number}: {command.split()[0]}")
            for number, command in enumerate(options.peer, start=1)
        ),
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
    numbers = itertools.count()

    def take_turn(case: Case, subject: Subject) -> None:
        try:
            figures = turn(case, subject, directory / str(next(numbers)), settings)
            results.add(case, subject.name, figures)
        except (SubjectFailedError, RuntimeError) as error:
            results.fail(case, subject.name, str(error))

    for case in cases(options.only, options.streams):
        for _ in range(options.rounds):
            for subject in everyone:
                if subject.does(case) and subject.name not in results.failures(case):
                    take_turn(case, subject)
        show(results, case)
        results.write(options.json)
    return results


def show(results: Results, case: Case) -> None:
    print(f"\n{case.title}")
    found = results.of(case)
    for name, rounds in found.items():
        print(row(name, rounds))
    for name, reason in results.failures(case).items():
        print(f"{name}: FAILED: {reason}")
    (_, ours), *others = found.items() or [("", [])]
    for name, rounds in others:
        print(beside(ours, name, rounds))
    sys.stdout.flush()


class CannotWriteError(Exception):
    """A file that was asked for cannot be written."""


REFUSALS = (CannotWriteError, NotACheckoutError, chart.NoMatplotlibError)


def require_writable(*paths: Path | None) -> None:
    """CannotWriteError: one of them is not. It is better to know that before the bench."""
    for path in paths:
        try:
            if path is not None:
                path.touch()
        except OSError as error:
            raise CannotWriteError(f"cannot write {path}: {error.strerror}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started ends with us
    attributes.have_them_logged()
    try:
        require_writable(options.json, options.png)
        if options.png is not None:
            chart.require()
        print(
            f"48 kHz stereo S16, {options.latency} ms asked, {options.rounds} rounds of "
            f"{options.seconds:g} s, {'SCHED_RR' if options.realtime else 'SCHED_OTHER'}"
        )
        print(head(), flush=True)
        with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
            results = run(options, Path(name))
        if options.png is not None:
            chart.draw(results, options.png)
    except REFUSALS as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n" + "\n".join(remarks(results)))
    return 1 if results.has_failures else 0


if __name__ == "__main__":
    sys.exit(main())
