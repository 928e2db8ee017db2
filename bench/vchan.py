"""`python -m bench.vchan`: what the agent costs while a guest plays or records over vchan, beside a
guest that does the same over sndif, and while 16 of each do; how late the sound is that it has
taken out of the rings; and how old what a guest records is when it reads it.

Wanted: CPU for a stream at most 1.2 times that over sndif; from the ring to the sink within 2 ms of
sndif; 99 of 100 recordings no older than 60 ms, without the way of the sound to whoever records.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from bench.cost import cost, family
from bench.guest import PIECE_MS
from bench.measure import RECORD, lateness
from bench.processes import build_probe, running
from bench.stalls import watched_stalls
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from tests.support.urgency import Urgency
from tests.support.vchan_guest import PIPEWIRE, PULSEAUDIO, Habits, VchanGuest

RATE_HZ = 44100
SETTLE_SECONDS = 0.5
MANY = 16
PART_MS = 10  # of what the agent gets at a time
POLICY_OF_MONITOR = (
    'version: 1\nrules:\n  - {guest: "*", playback: allow}\n'
    '  - {guest: "*", capture: allow, device: voice.monitor, monitor: allow}\n'
)
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


class Stage(NamedTuple):
    directory: Path
    pulse: PulseServer
    machine: LocalMachine
    dom0: Dom0


@contextmanager
def stage(
    *options: str,
    policy: str = POLICY,
    sink: Callable[[PulseServer], AbstractContextManager[object]] = nullcontext,
) -> Iterator[Stage]:
    """An agent with these options, and a server with one more `sink`."""
    with (
        tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name,
        PulseServer(Path(name) / "pulse") as pulse,
        LocalMachine(Path(name) / "xen") as machine,
        sink(pulse),
        Dom0(
            *(Path(name) / "dom0", machine.url, pulse.address),
            policy=policy,
            options=["--vchan", *options],
        ) as dom0,
    ):
        yield Stage(Path(name), pulse, machine, dom0)


@contextmanager
def over_sndif(guest: Guest, verb: str, sound: bytes) -> Iterator[None]:
    stdin = [sound] if verb == "play" else None
    seconds = [] if verb == "play" else ["--seconds=60"]
    with guest.start(verb, "-", f"--rate={RATE_HZ}", *seconds, stdin=stdin):
        yield


@contextmanager
def over_vchan(guest: VchanGuest, verb: str, sound: bytes) -> Iterator[None]:
    if verb == "play":
        guest.play(sound)
    else:
        guest.start_recording()
    yield
    guest.stop_recording()
    eventually(lambda: guest.unplayed == 0, 30)


def measured(dom0: Dom0, guest: str, verb: str, seconds: float) -> tuple[float, float]:
    """Return CPU in ms a second, and wakeups a second."""
    direction = "playback" if verb == "play" else "capture"
    dom0.await_event("stream_started", guest=guest, direction=direction)
    time.sleep(SETTLE_SECONDS)
    assert dom0.process is not None
    pids = family(dom0.process.pid)
    before, began = cost(pids), time.monotonic()
    time.sleep(seconds)
    spent, took = cost(pids) - before, time.monotonic() - began
    return spent.cpu_seconds * 1000 / took, spent.switches / took


def row(name: str, figures: list[tuple[float, float]], than: list[tuple[float, float]]) -> str:
    cpu, wakeups = (statistics.median(each) for each in zip(*figures, strict=True))
    ratios = [one[0] / other[0] for one, other in zip(figures, than, strict=True)]
    return f"{name:34}{cpu:10.2f}{wakeups:10.0f}{statistics.median(ratios):10.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--latency", type=int, default=20, metavar="MS", help="default 20")
    parser.add_argument("--only", choices=list(PARTS))
    options = parser.parse_args()
    for name, measure in PARTS.items():
        if options.only in {None, name}:
            measure(options)


def bench_latency(options: argparse.Namespace) -> None:
    """From the agent's taking a frame out of the ring to its being heard, over each of the two. In
    both the audio server gets all that it wants: what a guest writes over sndif, the agent takes at
    once, so this guest's buffer must hold as much as the server's.

    Beside what is lost stands for how long a processor ran nothing at all. A sink plays silence for
    what it has not got by then.
    """
    print(f"\n{'latency, ms':34}{'median':>10}{'p99':>10}{'lost':>10}{'stall':>10}")
    with (
        stage(
            f"--latency={options.latency}",
            sink=lambda pulse: pulse.default_sink("same", rate_hz=RATE_HZ),
        ) as (directory, pulse, machine, dom0),
        watched_stalls(directory) as stalls,
    ):
        probe = build_probe(directory)
        medians: dict[str, list[float]] = {"sndif": [], "vchan": []}
        for number in range(options.rounds):
            for kind, player, latency_ms, more in (
                (
                    "sndif",
                    ["-P", "bench/guest.py"],
                    options.latency + PIECE_MS,
                    [f"--rate={RATE_HZ}"],
                ),
                ("vchan", ["-m", "bench.vchan_player"], options.latency, []),
            ):
                guest = f"{kind}-{number}"
                log = directory / guest
                listen = [str(probe), "listen", pulse.address, "same.monitor", f"{log}.heard"]
                play = [*player, machine.url, str(latency_ms), f"{log}.written", guest, *more]
                machine.create(guest)
                with (
                    running(*listen, "2", str(RATE_HZ), urgency=Urgency.SERVER),
                    running(sys.executable, *play, urgency=Urgency.SOUNDING),
                ):
                    dom0.await_event("stream_started", guest=guest, direction="playback")
                    time.sleep(SETTLE_SECONDS)
                    since_ns = time.monotonic_ns()
                    time.sleep(options.seconds)
                    until_ns = time.monotonic_ns()
                machine.destroy(guest)
                late = lateness(Path(f"{log}.written"), Path(f"{log}.heard"), since_ns)
                figures = f"{late.median_ms:10.1f}{late.p99_ms:10.1f}{late.lost_frames:10}"
                figures += f"{stalls.longest_ms(since_ns, until_ns):10.1f}"
                print(f"{kind:34}{figures}", flush=True)
                medians[kind].append(late.median_ms)
        apart = [vchan - sndif for sndif, vchan in zip(*medians.values(), strict=True)]
        print(f"{'vchan later by':34}{statistics.median(apart):10.1f}")


class Recorder:
    """Logs what a guest reads as probe.c logs what it hears."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb", buffering=0)

    def hear(self, octets: bytes) -> None:
        self._log.write(RECORD.pack(time.monotonic_ns(), len(octets)) + octets)


def bench_age(options: argparse.Namespace) -> None:
    """From a frame's being spoken to its being read, by a bare client of the audio server and by
    guests: what the guests' is longer, is the agent's and the ring's."""
    print(f"\n{'age of recordings, ms':34}{'median':>10}{'p99':>10}{'lost':>10}")
    with stage(
        f"--latency={options.latency}",
        policy=POLICY_OF_MONITOR,
        sink=lambda pulse: pulse.sink("voice", rate_hz=RATE_HZ),
    ) as (directory, pulse, machine, dom0):
        probe = build_probe(directory)
        written, heard = directory / "written", directory / "heard"
        speak = [str(probe), "play", pulse.address, "voice", "20", "left", str(written)]
        listen = [str(probe), "listen", pulse.address, "voice.monitor", str(heard)]
        fragment_ms = str(PART_MS)
        logs: list[tuple[str, Path, tuple[int, int]]] = []
        with (
            running(*speak, str(RATE_HZ), urgency=Urgency.SERVER),
            running(*listen, fragment_ms, str(RATE_HZ), urgency=Urgency.SERVER),
        ):
            for kind, habits in (("PulseAudio", PULSEAUDIO), ("PipeWire", PIPEWIRE)):
                log = directory / kind
                times = recorded(dom0, machine, kind, habits, log, options)
                logs += [("bare client", heard, times), (f"vchan, as {kind} has it", log, times)]
        for who, path, times in logs:  # which are whole by now
            age = lateness(written, path, *times)
            print(f"{who:34}{age.median_ms:10.1f}{age.p99_ms:10.1f}{age.lost_frames:10}")


def recorded(
    dom0: Dom0,
    machine: LocalMachine,
    name: str,
    habits: Habits,
    log: Path,
    options: argparse.Namespace,
) -> tuple[int, int]:
    """A guest records, and logs what it reads. Return from when until when."""
    with VchanGuest(machine, name, habits) as guest:
        guest.on_recorded = Recorder(log).hear
        assert eventually(lambda: guest.is_connected)
        guest.start_recording()
        dom0.await_event("stream_started", guest=name, direction="capture")
        time.sleep(SETTLE_SECONDS)
        since_ns = time.monotonic_ns()
        time.sleep(options.rounds * options.seconds)
        until_ns = time.monotonic_ns()
        guest.stop_recording()
    machine.destroy(name)
    return since_ns, until_ns


def bench_cost(options: argparse.Namespace) -> None:
    sound = noise(options.seconds + 2, rate_hz=RATE_HZ)
    print(f"{'':34}{'CPU ms/s':>10}{'wakeups/s':>10}{'x sndif':>10}")
    with stage() as (_, _, machine, dom0):
        for verb in ("play", "record"):
            found: dict[str, list[tuple[float, float]]] = {}
            for number in range(options.rounds):
                sndif = Guest(machine, f"sndif-{verb}-{number}")
                dom0.await_event("device_made", guest=sndif.name)
                with over_sndif(sndif, verb, sound):
                    figures = measured(dom0, sndif.name, verb, options.seconds)
                found.setdefault("sndif", []).append(figures)
                sndif.destroy()
                for kind, habits in (("PulseAudio", PULSEAUDIO), ("PipeWire", PIPEWIRE)):
                    figures = of_vchan(dom0, machine, habits, f"{kind}-{verb}-{number}", sound)
                    found.setdefault(f"vchan, as {kind} has it", []).append(figures)
            for kind, rounds in found.items():
                print(row(f"{verb}, {kind}", rounds, found["sndif"]), flush=True)


def of_vchan(
    dom0: Dom0, machine: LocalMachine, habits: Habits, name: str, sound: bytes
) -> tuple[float, float]:
    verb = "play" if "-play-" in name else "record"
    seconds = len(sound) / RATE_HZ / 4 - 2
    with VchanGuest(machine, name, habits) as guest:
        assert eventually(lambda: guest.is_connected)
        with over_vchan(guest, verb, sound):
            figures = measured(dom0, name, verb, seconds)
    machine.destroy(name)
    return figures


def bench_many(options: argparse.Namespace) -> None:
    """Guests of each kind that keep their buffer full, all in one process of theirs."""
    print(f"\n{f'{MANY} guests, each':34}{'CPU ms/s':>10}{'wakeups/s':>10}{'x sndif':>10}")
    python = [sys.executable, "-P"]
    with stage() as (_, _, machine, dom0):
        found: dict[str, list[tuple[float, float]]] = {"sndif": [], "vchan": []}
        for number in range(options.rounds):
            for kind, rounds in found.items():
                names = [f"{kind}-{number}-{each}" for each in range(MANY)]
                for each in names:
                    machine.create(each)
                command = [sys.executable, "-m", "bench.vchan_guests", machine.url, *names]
                if kind == "sndif":
                    command = [*python, "bench/guest.py", machine.url, "20", "-", *names]
                    command += ["--full", f"--rate={RATE_HZ}"]
                with running(*command, urgency=Urgency.SOUNDING):
                    for each in names:
                        dom0.await_event("stream_started", guest=each, direction="playback")
                    figures = measured(dom0, names[0], "play", options.seconds)
                rounds.append((figures[0] / MANY, figures[1] / MANY))
                for each in names:
                    machine.destroy(each)
        for kind, rounds in found.items():
            print(row(f"play, {kind}", rounds, found["sndif"]), flush=True)


PARTS = {"cost": bench_cost, "many": bench_many, "latency": bench_latency, "age": bench_age}

if __name__ == "__main__":
    main()
