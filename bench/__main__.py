"""`make bench`: the dom0 agent beside bare clients of the audio server, in the same run.

These machines are shared and noisy: only the ratios within one run count, and nothing is asserted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Cost, Lateness, children, cost, lateness, proportional_kib
from bench.processes import build_probe, running
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import SINK, PulseServer

# Longer than it takes until silence is corked.
WARM_UP_SECONDS = 4.0
# Of all but the first stream, whose frames are numbered: a mixed sum would be another number.
OTHERS = "others"
OTHERS_MODULE = (
    f"module-null-sink sink_name={OTHERS} norewinds=1 rate=48000 format=s16le channels=2"
)
POLICY = f"""\
version: 1
rules:
  - guest: guest0
    playback: allow
  - guest: "*"
    playback: allow
    device: {OTHERS}
"""


@dataclass(frozen=True, slots=True)
class Run:
    streams: int
    seconds: float
    cost: Cost
    memory_kib: int
    late: Lateness

    @property
    def cpu_ms_a_stream_second(self) -> float:
        return self.cost.cpu_seconds * 1000 / self.seconds / self.streams

    @property
    def wakeups_a_second(self) -> float:
        return self.cost.switches / self.seconds


def measure(streams: int, seconds: float, pids: Sequence[int], logs: tuple[Path, Path]) -> Run:
    time.sleep(WARM_UP_SECONDS)
    since_ns = time.monotonic_ns()
    before = cost(pids)
    time.sleep(seconds)
    spent = cost(pids) - before
    took = (time.monotonic_ns() - since_ns) / 1e9
    return Run(streams, took, spent, proportional_kib(pids), lateness(*logs, since_ns))


def bench_agent(
    directory: Path,
    probe: Path,
    streams: int,
    options: argparse.Namespace,
    others: str = "sound",
) -> Run:
    written, heard = directory / "written", directory / "heard"
    names = [f"guest{number}" for number in range(streams)]
    with (
        PulseServer(directory / "pulse", modules=(OTHERS_MODULE,)) as pulse,
        LocalMachine(directory / "xen") as machine,
        Dom0(
            directory / "dom0",
            machine.url,
            pulse.address,
            policy=POLICY,
            options=[f"--latency={options.latency}"],
        ) as dom0,
    ):
        for name in names:
            machine.create(name)
        assert dom0.process is not None
        guest = [sys.executable, "-m", "bench.guest", machine.url]
        with (
            running(str(probe), "listen", pulse.address, f"{SINK}.monitor", str(heard)),
            running(*guest, str(options.latency), str(written), others, *names),
        ):
            dom0.await_event("decision", count=streams, seconds=30)
            pids = [dom0.process.pid, *children(dom0.process.pid)]
            return measure(streams, options.seconds, pids, (written, heard))


def bench_path(directory: Path, probe: Path, options: argparse.Namespace) -> Run:
    """An application of the guest's audio server to dom0's sink. The agents' cost, both."""
    written, heard = directory / "written", directory / "heard"
    # Which copies frames, or drops one where clocks differ: the numbers in them live.
    settings = directory / "guest/pulse/daemon.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("resample-method = trivial\n")
    with (
        PulseServer(directory / "pulse") as pulse,
        PulseServer(directory / "guest") as guest_pulse,
        LocalMachine(directory / "xen") as machine,
        Dom0(
            directory / "dom0",
            machine.url,
            pulse.address,
            options=[f"--latency={options.latency}"],
        ) as dom0,
        Guest(machine, "guest").start("serve", f"--server={guest_pulse.address}") as serve,
    ):
        serve.listen_until(lambda said: b"ready" in said)
        assert dom0.process is not None
        play = (str(probe), "play", guest_pulse.address, "xensnd")
        with (
            running(str(probe), "listen", pulse.address, f"{SINK}.monitor", str(heard)),
            running(*play, str(options.latency), str(written)),
        ):
            dom0.await_event("decision", seconds=30)
            pids = [dom0.process.pid, *children(dom0.process.pid), serve.process.pid]
            return measure(1, options.seconds, pids, (written, heard))


def bench_bare(directory: Path, probe: Path, streams: int, options: argparse.Namespace) -> Run:
    """Bare clients that make their sound up; the first one's lateness counts."""
    written, heard = directory / "written", directory / "heard"
    play = [str(probe), "play"]
    with PulseServer(directory / "pulse", modules=(OTHERS_MODULE,)) as pulse, ExitStack() as stack:
        to = (pulse.address, SINK, str(options.latency))
        stack.enter_context(
            running(str(probe), "listen", pulse.address, f"{SINK}.monitor", str(heard))
        )
        pids = [stack.enter_context(running(*play, *to, str(written)))]
        for _ in range(streams - 1):
            pids.append(stack.enter_context(running("pacat", *_pacat_options(pulse, options))))
        return measure(streams, options.seconds, pids, (written, heard))


def bench_pacat(directory: Path, probe: Path, streams: int, options: argparse.Namespace) -> Run:
    """pacat of silence; nobody hears whether it is late."""
    nothing, heard = directory / "nothing", directory / "heard"
    with PulseServer(directory / "pulse", modules=(OTHERS_MODULE,)) as pulse, ExitStack() as stack:
        stack.enter_context(
            running(str(probe), "listen", pulse.address, f"{SINK}.monitor", str(heard))
        )
        nothing.touch()
        pids = [
            stack.enter_context(running("pacat", *_pacat_options(pulse, options)))
            for _ in range(streams)
        ]
        return measure(streams, options.seconds, pids, (nothing, heard))


def _pacat_options(pulse: PulseServer, options: argparse.Namespace) -> list[str]:
    return [
        f"--server={pulse.address}",
        f"--device={OTHERS}",
        "--raw",
        "--rate=48000",
        f"--latency-msec={options.latency}",
        "/dev/zero",
    ]


HEAD = (
    f"{'':22}{'CPU ms a':>12}{'wakeups':>10}{'of these':>12}{'memory':>10}"
    f"{'latency, ms':>20}{'frames':>10}\n"
    f"{'':22}{'stream-s':>12}{'a second':>10}{'interpreter':>12}{'MiB':>10}"
    f"{'median':>12}{'p99':>8}{'lost':>10}"
)


def row(name: str, run: Run, *, counts_lost: bool = True) -> str:
    lost = run.late.lost_frames if counts_lost else "-"
    return (
        f"{name:22}{run.cpu_ms_a_stream_second:12.2f}{run.wakeups_a_second:10.0f}"
        f"{run.cost.interpreter_switches / run.seconds:12.1f}{run.memory_kib / 1024:10.1f}"
        f"{run.late.median_ms:12.1f}{run.late.p99_ms:8.1f}{lost:>10}"
    )


def comparison(ours: Run, bare: Run, pacat: Run) -> str:
    cpu = ours.cpu_ms_a_stream_second
    return (
        f"{'':3}CPU {cpu / bare.cpu_ms_a_stream_second:.2f} x bare, "
        f"{cpu / pacat.cpu_ms_a_stream_second:.2f} x pacat; "
        f"latency beside bare: median {ours.late.median_ms - bare.late.median_ms:+.1f} ms, "
        f"p99 {ours.late.p99_ms - bare.late.p99_ms:+.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--latency", type=int, default=20, metavar="MS", help="default 20")
    options = parser.parse_args()
    print(f"48 kHz stereo S16, latency asked {options.latency} ms; one listens to the first")
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
        probe = build_probe(Path(name))
        for streams in options.streams:
            ours = bench_agent(Path(name) / f"agent{streams}", probe, streams, options)
            print(row(f"{streams:2} xensnd-dom0", ours), flush=True)
            bare = bench_bare(Path(name) / f"bare{streams}", probe, streams, options)
            print(row(f"{streams:2} bare client", bare), flush=True)
            if streams > 1:
                directory = Path(name) / f"silent{streams}"
                silent = bench_agent(directory, probe, streams, options, "silence")
                print(row(f"{streams:2} all but one silent", silent), flush=True)
            pacat = bench_pacat(Path(name) / f"pacat{streams}", probe, streams, options)
            print(row(f"{streams:2} pacat", pacat), flush=True)
            print(comparison(ours, bare, pacat), flush=True)
        path = bench_path(Path(name) / "path", probe, options)
        # The guest follows dom0's clock by dropping and repeating frames: none of them is lost.
        print(row("   whole path, served", path, counts_lost=False), flush=True)


if __name__ == "__main__":
    main()
