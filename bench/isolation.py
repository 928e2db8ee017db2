"""`python -m bench.isolation`: what it costs that each guest's rings are served by a process of its
own (`xensnd-dom0 --isolation guest`), beside one process for all guests.

Memory is the proportional set size of the agent, the opener, the supervisor, and all that they have
started. CPU and wakeups are of the same. Each guest plays one stream.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.cost import cost, proportional_kib
from bench.measure import Lateness, lateness
from bench.processes import build_probe, running
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import SINK, PulseServer
from tests.support.urgency import Urgency

WARM_UP_SECONDS = 2.0


def family(pid: int) -> list[int]:
    """The process, and all that have come of it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def measure(directory: Path, probe: Path, isolation: str, guests: int, seconds: float) -> str:
    written, heard = directory / "written", directory / "heard"
    names = [f"guest{number}" for number in range(guests)]
    options = [f"--isolation={isolation}"]
    with (
        PulseServer(directory / "pulse") as pulse,
        LocalMachine(directory / "xen") as machine,
        Dom0(directory / "dom0", machine.url, pulse.address, options=options) as dom0,
    ):
        for name in names:
            Guest(machine, name)
        assert dom0.pid is not None
        idle_kib = proportional_kib(family(dom0.pid))
        guest = [sys.executable, "-m", "bench.guest", machine.url, "20", str(written)]
        listen = [str(probe), "listen", pulse.address, f"{SINK}.monitor", str(heard)]
        with (
            running(*listen, urgency=Urgency.SERVER),
            running(*guest, *names, urgency=Urgency.SOUNDING),
        ):
            dom0.await_event("stream_started", count=guests, seconds=30)
            time.sleep(WARM_UP_SECONDS)
            pids, since_ns = family(dom0.pid), time.monotonic_ns()
            before = cost(pids)
            time.sleep(seconds)
            spent, kib = cost(pids) - before, proportional_kib(pids)
    late: Lateness = lateness(written, heard, since_ns)
    return (
        f"{isolation:10}{guests:>7}{idle_kib / 1024:>11.1f}{kib / 1024:>10.1f}"
        f"{spent.cpu_seconds * 1000 / seconds / guests:>14.1f}{spent.switches / seconds:>11.0f}"
        f"{late.median_ms:>10.1f}{late.p99_ms:>7.1f}{late.lost_frames:>7}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row (default 5)")
    parser.add_argument("--guests", type=int, nargs="*", default=[1, 4, 16])
    options = parser.parse_args()
    print(
        f"{'':10}{'':>7}{'idle':>11}{'playing':>10}{'CPU, ms a':>14}{'wakeups':>11}"
        f"{'latency, ms':>17}{'lost':>7}\n"
        f"{'isolation':10}{'guests':>7}{'MiB':>11}{'MiB':>10}{'stream-second':>14}{'a second':>11}"
        f"{'median':>10}{'p99':>7}{'frames':>7}"
    )
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
        probe = build_probe(Path(name))
        for guests in options.guests:
            for isolation in ("all", "guest"):
                directory = Path(name, f"{isolation}-{guests}")
                directory.mkdir()
                print(measure(directory, probe, isolation, guests, options.seconds), flush=True)


if __name__ == "__main__":
    main()
