"""`python -m bench.protocols`: what the agent and a PipeWire server cost while guests play by
PipeWire's own protocol, beside the same by PulseAudio's, on a server of the same kind.

Both ask for the same latency, and the server's cycles have the same length. Guests keep their
buffers full, or write as late as they may; one listens to the sink's monitor. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.cost import cost, family, proportional_kib
from bench.figures import Figures, Spread
from bench.measure import lateness
from bench.options import positive, seconds, stream_counts
from bench.processes import build_probe, running
from bench.table import beside, head, row
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import SINK
from tests.support.urgency import Urgency

RATE_HZ = 48000
SETTLE_SECONDS = 2.0
KINDS = {"full buffers": ("--full",), "as late as they may": ()}


def prepare(server: PipeWireServer, cycle_frames: int) -> None:
    """A sink, and cycles of this length."""
    with server.mixer() as mixer:
        mixer.module_load("module-null-sink", f"sink_name={SINK} rate={RATE_HZ} channels=2")
    force = ("pw-metadata", "-n", "settings", "0", "clock.force-quantum", str(cycle_frames))
    subprocess.run(force, env=server.environment, check=True, stdout=subprocess.DEVNULL)


def turn(
    directory: Path,
    probe: Path,
    protocol: ServerProtocol,
    streams: int,
    kind: str,
    options: argparse.Namespace,
) -> Figures:
    directory.mkdir()
    written, heard = directory / "written", directory / "heard"
    names = [f"guest{number}" for number in range(streams)]
    with (
        PipeWireServer(directory / "pipewire") as server,
        LocalMachine(directory / "xen") as machine,
        Dom0(
            directory / "dom0",
            machine.url,
            server.address_for(protocol),
            options=[f"--latency={options.latency}"],
            prefix=server.agent_prefix,
        ) as dom0,
    ):
        prepare(server, options.cycle)
        for name in names:
            Guest(machine, name)
        guests = [sys.executable, "-m", "bench.guest", machine.url, str(options.latency)]
        listen = [str(probe), "listen", server.address, f"{SINK}.monitor", str(heard)]
        with (
            running(*listen, urgency=Urgency.SERVER),
            running(*guests, str(written), *names, *KINDS[kind], urgency=Urgency.SOUNDING),
        ):
            dom0.await_event("stream_started", count=streams, seconds=30)
            time.sleep(SETTLE_SECONDS)
            pids, servers = family(dom0.pid), list(server.pids)
            since_ns, before, server_before = time.monotonic_ns(), cost(pids), cost(servers)
            time.sleep(options.seconds)
            until_ns = time.monotonic_ns()
            spent, server_spent = cost(pids) - before, cost(servers) - server_before
            memory_kib = proportional_kib(pids)
    taken = (until_ns - since_ns) / 1e9
    late = lateness(written, heard, since_ns, until_ns)
    figures = Figures(
        cpu_ms=spent.cpu_seconds * 1000 / taken / streams,
        wakeups=spent.switches / taken,
        interpreter_wakeups=spent.interpreter_switches / taken,
        server_cpu_ms=server_spent.cpu_seconds * 1000 / taken,
        server_wakeups=server_spent.switches / taken,
        memory_mib=memory_kib / 1024,
        lost_frames=late.lost_frames,
    )
    if KINDS[kind]:  # most of a frame's latency is the guest's own buffer
        return figures
    return replace(figures, latency_median_ms=late.median_ms, latency_p99_ms=late.p99_ms)


def together(rounds: list[Figures], streams: int) -> list[float]:
    """CPU of agent and server, ms a second."""
    return [each.cpu_ms * streams + each.server_cpu_ms for each in rounds]


def show(found: dict[ServerProtocol, list[Figures]], streams: int, kind: str) -> None:
    print(f"\n{streams} stream{'' if streams == 1 else 's'}: {kind}")
    for protocol, rounds in found.items():
        print(row(protocol.value, rounds))
    native, pulse = found[ServerProtocol.PIPEWIRE], found[ServerProtocol.PULSEAUDIO]
    print(beside(native, ServerProtocol.PULSEAUDIO.value, pulse))
    pairs = zip(together(native, streams), together(pulse, streams), strict=True)
    if both := Spread.of(ours / theirs for ours, theirs in pairs):
        numbers = f"{both.minimum:.2f}/{both.median:.2f}/{both.maximum:.2f}"
        print(f"   agent and server together: CPU {numbers} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.protocols", description=__doc__)
    parser.add_argument("--streams", type=stream_counts, default=[1, 4, 16], metavar="N,N")
    parser.add_argument("--rounds", type=positive, default=3, metavar="N")
    parser.add_argument("--seconds", type=seconds, default=3.0, metavar="S")
    parser.add_argument("--latency", type=positive, default=20, metavar="MS")
    parser.add_argument("--cycle", type=positive, default=256, metavar="FRAMES")
    options = parser.parse_args()
    print(
        f"48 kHz stereo S16, {options.latency} ms asked, cycles of {options.cycle} frames, "
        f"{options.rounds} rounds of {options.seconds:g} s\n{head()}"
    )
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
        probe, numbers = build_probe(Path(name)), itertools.count()
        for streams, kind in itertools.product(options.streams, KINDS):
            found: dict[ServerProtocol, list[Figures]] = {
                ServerProtocol.PIPEWIRE: [],
                ServerProtocol.PULSEAUDIO: [],
            }
            for _ in range(options.rounds):
                for protocol, rounds in found.items():
                    directory = Path(name, str(next(numbers)))
                    rounds.append(turn(directory, probe, protocol, streams, kind, options))
            show(found, streams, kind)


if __name__ == "__main__":
    main()
