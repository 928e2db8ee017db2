"""`python -m bench.newcomers`: how late the control socket answers while guests come and go, one
after the other without an end, beside guests that run already and have connected their cards.

Wanted: within 20 ms, and no later with many guests than with none. Nothing is asserted. Who asks is
real-time, and XenStore's daemon comes before guests, as in `bench.hostile`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.asker import real_time
from bench.cost import stolen_ms
from bench.measure import percentile
from bench.processes import MEMORY, running
from bench.stalls import watched_stalls
from tests.hostile.stage import MAY_RECORD
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.urgency import preferred

ASK_SECONDS = 0.02
HEAD = (
    f"{'':10}{'':>7}{'guests':>10}{'answers, ms':>24}{'stolen':>8}{'stall':>7}\n"
    f"{'isolation':10}{'guests':>7}{'that came':>10}{'median':>10}{'p99':>7}{'worst':>7}"
    f"{'ms':>8}{'ms':>7}"
)


def measure(directory: Path, isolation: str, guests: int, seconds: float) -> str:
    names = [f"guest{number}" for number in range(guests)]
    answers_ms = []
    with (
        PulseServer(directory / "pulse") as pulse,
        LocalMachine(directory / "xen") as machine,
        Dom0(
            directory / "dom0",
            machine.url,
            pulse.address,
            policy=MAY_RECORD,
            options=[f"--isolation={isolation}"],
        ) as dom0,
        watched_stalls(directory) as stalls,
    ):
        preferred(machine.pid)
        for name in names:
            Guest(machine, name)
        idle = [sys.executable, "-m", "bench.guest", machine.url, "20", "-", "--idle", *names]
        comers = [sys.executable, "-m", "bench.comers", machine.url]
        with running(*(idle if names else ["sleep", "inf"])), running(*comers):
            dom0.await_event("device_connected", count=guests + 1, seconds=30)
            since_ns, stolen_before = time.monotonic_ns(), stolen_ms()
            before = len(dom0.events("device_made"))
            until = time.monotonic() + seconds
            with real_time():
                while time.monotonic() < until:
                    asked = time.monotonic()
                    dom0.ask("status")
                    answers_ms.append((time.monotonic() - asked) * 1000)
                    time.sleep(ASK_SECONDS)
            came = len(dom0.events("device_made")) - before
            stolen = stolen_ms() - stolen_before
            stall_ms = stalls.longest_ms(since_ns, time.monotonic_ns())
    return (
        f"{isolation:10}{guests:>7}{came:>10}{statistics.median(answers_ms):>10.1f}"
        f"{percentile(answers_ms, 99):>7.1f}{max(answers_ms):>7.1f}{stolen:>8}{stall_ms:>7.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.newcomers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row (default 8)")
    parser.add_argument("--guests", type=int, nargs="*", default=[0, 16])
    parser.add_argument("--isolation", nargs="*", default=["all", "guest"])
    options = parser.parse_args()
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-", dir=MEMORY) as name:
        for isolation in options.isolation:
            for guests in options.guests:
                directory = Path(name, f"{isolation}-{guests}")
                directory.mkdir()
                print(measure(directory, isolation, guests, options.seconds), flush=True)


if __name__ == "__main__":
    main()
