"""`python -m bench.life`: how long the dom0 agent takes to start, and how long it is out when the
next one takes over from it while a guest plays.

Wanted: ready 0.5 s after it was started; out for less than the 100 ms that a stock driver with a
short buffer waits. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from agent_dom0.supervisor.supervise import RENEW
from bench.processes import MEMORY
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise


def starts(dom0: Dom0, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.monotonic()
        dom0.start()
        taken.append(time.monotonic() - began)
        dom0.stop()
    return taken


def outages(dom0: Dom0, guest: Guest, out_from: Callable[[], float], count: int) -> list[float]:
    """`out_from` ends the agent that there is; since when it is out."""
    taken = []
    with guest.start("play", "-", stdin=[noise(5 * count)]) as playing:
        dom0.await_event("stream_started", guest=guest.name)
        for _ in range(count):
            time.sleep(1.5)  # an agent that lives for less than a second is not followed at once
            known = len(dom0.events("stream_taken_over"))
            since = out_from()
            over = dom0.await_event("stream_taken_over", count=known + 1)
            taken.append(when(over) - since)
        playing.process.terminate()
    return taken


def killed(dom0: Dom0) -> float:
    agent = dom0.agent_pid
    since = time.time()
    os.kill(agent, signal.SIGKILL)
    return since


def renewed(dom0: Dom0) -> float:
    """It plays until the next one is loaded."""
    assert dom0.process is not None
    known = len(dom0.events("agent_stopped"))
    dom0.process.send_signal(RENEW)
    return when(dom0.await_event("agent_stopped", count=known + 1))


def when(event: Any) -> float:
    return datetime.fromisoformat(event["TIME"]).timestamp()


def row(name: str, seconds: list[float]) -> str:
    times = [each * 1000 for each in seconds]
    return f"{name:42}{statistics.median(times):9.0f}{max(times):9.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    count = parser.parse_args().count
    print(f"{'ms, of ' + str(count):42}{'median':>9}{'worst':>9}")
    with (
        tempfile.TemporaryDirectory(prefix="xensnd-bench-", dir=MEMORY) as name,
        PulseServer(Path(name) / "pulse") as pulse,
        LocalMachine(Path(name) / "xen") as machine,
    ):
        dom0 = Dom0(Path(name) / "dom0", machine.url, pulse.address)
        print(row("start to ready", starts(dom0, count)), flush=True)
        with dom0:
            guests = [Guest(machine, each) for each in ("killed", "renewed")]
            dom0.await_event("device_made", guest="renewed")
            ends = (killed, renewed)
            for guest, end in zip(guests, ends, strict=True):
                taken = outages(dom0, guest, partial(end, dom0), count)
                print(row(f"out when it is {guest.name}", taken), flush=True)


if __name__ == "__main__":
    main()
