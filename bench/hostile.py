"""`python -m bench.hostile`: what a guest notices of a hostile one, act by act (tests/hostile), and
of the agent's deaths.

The victim's every frame carries its own number, as in `make bench`. Nothing is asserted. Wanted: no
frame lost, p99 of the latency within 5 ms of the quiet case, 2 MiB more memory at most, an answer
of the control socket within 20 ms, that to a third guest's OPEN not much later than in the quiet
case, the culprit throttled within 1 s, its microphone closed within 50 ms; and at a death 80 ms of
silence at most.

XenStore's daemon comes before guests, as dom0's processes do on Xen. Who asks over the control
socket is real-time, so that the answers are late by the agent alone. "stolen" is what others on the
same host have taken of the processors meanwhile, and "stall" the longest time in which one of them
ran nothing, not even what comes first of all (stalls.c). On a machine of one's own both are next to
0. A frame may be lost by a stall alone, if that is longer than what the audio server itself has at
least: half of the latency.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.asker import real_time
from bench.cost import stolen_ms
from bench.measure import Lateness, lateness, percentile
from bench.processes import MEMORY, build_probe, running
from bench.stalls import Stalls, watched_stalls
from tests.hostile.acts import ACTS, QUIET, Act
from tests.hostile.stage import MAY_RECORD, Memory, performing, revoke
from tests.hostile.vcpu import build_library
from tests.support.agents import Dom0, Guest, driver_of
from tests.support.heard import RATE_HZ, find_gaps
from tests.support.local_machine import LocalMachine
from tests.support.peer import Peer
from tests.support.pulse_server import (
    SINK,
    PulseServer,
    left_of,
    noise,
    on_left,
    on_right,
    right_of,
    write_wav,
)
from tests.support.raw_frontend import RawStream, eventually
from tests.support.shared_pages import RSP_PROD_OFFSET
from tests.support.urgency import Urgency, preferred, urgent
from xensnd.control.client import NoAgentError
from xensnd.sndif.packets import Close, Open, encode_request

WARM_UP_SECONDS = 1.0
# The victim keeps so much more than the audio server queues: a period. With nothing more it loses
# some frames by itself: it looks each 2.5 ms for room, which comes each 10 ms, now and then 3 ms
# late, as the audio server asks.
SPARE_MS = 10
LOOK_SECONDS = 0.05
# An agent that lived for less than a second is followed by the next only after a delay.
LIFE_SECONDS = (1.1, 2.1)


@dataclass(frozen=True, slots=True)
class Stage:
    machine: LocalMachine
    dom0: Dom0
    pulse: PulseServer
    stalls: Stalls
    probe: Path
    library: Path


@dataclass(frozen=True, slots=True)
class Result:
    late: Lateness
    memory_kib: int
    control_ms: Sequence[float]
    open_ms: Sequence[float]
    throttled_ms: float | None  # None: no budget answers
    revoked_ms: Sequence[float]
    stolen_ms: int
    stall_ms: float


def perform(stage: Stage, act: Act, directory: Path, options: argparse.Namespace) -> Result:
    directory.mkdir()
    written, heard = directory / "written", directory / "heard"
    machine, pulse = stage.machine, stage.pulse
    victim, evil, third = (Guest(machine, name) for name in ("victim", "evil", "third"))
    kept_ms = str(options.latency + SPARE_MS)
    guest = [sys.executable, "-m", "bench.guest", machine.url, kept_ms, str(written)]
    listen = [str(stage.probe), "listen", pulse.address, f"{SINK}.monitor", str(heard)]
    with (
        running(*listen, urgency=Urgency.SERVER),
        running(*guest, victim.name, urgency=Urgency.SOUNDING),
        driver_of(machine, stage.dom0, third) as driver,
    ):
        opening = driver.connect()
        stage.dom0.await_event("stream_started", domid=victim.domid)
        time.sleep(WARM_UP_SECONDS)
        with performing(machine, evil, act.name, stage.library) as adversary:
            since_ns, stolen_before = time.monotonic_ns(), stolen_ms()
            result = look(stage.dom0, evil, act, adversary, opening, options)
            # Not later: then the victim ends, and what is heard is silence.
            until_ns, stolen = time.monotonic_ns(), stolen_ms() - stolen_before
    for each in (evil, victim, third):
        each.destroy()
    late = lateness(written, heard, since_ns, until_ns)
    return Result(late, *result, stolen, stage.stalls.longest_ms(since_ns, until_ns))


def open_and_close(stream: RawStream, request: Open) -> float:
    """Returns after how many ms OPEN was answered."""
    asked = time.monotonic()
    stream.put(encode_request(stream.sent & 0xFFFF, request))
    stream.requests.notify()
    while stream.ring[RSP_PROD_OFFSET // 4] != stream.sent:
        time.sleep(0.0002)
    took = time.monotonic() - asked
    stream.ask(Close())
    return took * 1000


def look(
    dom0: Dom0,
    evil: Guest,
    act: Act,
    adversary: Peer,
    opening: RawStream,
    options: argparse.Namespace,
) -> tuple[int, Sequence[float], Sequence[float], float | None, Sequence[float]]:
    memory, control_ms, open_ms = Memory(dom0.agent_pid), [], []
    request = opening.good_open()
    began = time.time()
    until = time.monotonic() + options.seconds
    with real_time():
        while time.monotonic() < until:
            asked = time.monotonic()
            dom0.ask("status")
            control_ms.append((time.monotonic() - asked) * 1000)
            open_ms.append(open_and_close(opening, request))
            memory.look()
            time.sleep(LOOK_SECONDS)
    throttled_ms = None
    if told := act.told(options.isolation):
        dom0.await_event(told[0].kind, domid=evil.domid)
        first = dom0.events(told[0].kind, domid=evil.domid)[0]
        throttled_ms = (when(first) - began) * 1000
    revoked_ms = [revoke(dom0, adversary) for _ in range(options.rounds) if act.records]
    return memory.growth_kib, control_ms, open_ms, throttled_ms, revoked_ms


def when(event: Any) -> float:
    return datetime.fromisoformat(event["TIME"]).timestamp()


HEAD = (
    f"{'':16}{'frames':>8}{'latency, ms':>14}{'beside':>8}{'memory':>9}{'control':>9}{'OPEN':>8}"
    f"{'throttled':>11}{'live after denied, ms':>23}{'stolen':>8}{'stall':>7}\n"
    f"{'':16}{'lost':>8}{'median':>8}{'p99':>6}{'quiet':>8}{'KiB':>9}{'p99, ms':>9}{'p99, ms':>8}"
    f"{'after, ms':>11}{'median':>15}{'worst':>8}{'ms':>8}{'ms':>7}"
)


def row(act: Act, result: Result, quiet: Result) -> str:
    late, revoked = result.late, result.revoked_ms
    throttled = "-" if result.throttled_ms is None else f"{result.throttled_ms:.0f}"
    median, worst = (
        (f"{statistics.median(revoked):.1f}", f"{max(revoked):.1f}") if revoked else ("-", "-")
    )
    return (
        f"{act.name:16}{late.lost_frames:>8}{late.median_ms:>8.1f}{late.p99_ms:>6.1f}"
        f"{late.p99_ms - quiet.late.p99_ms:>+8.1f}{result.memory_kib:>+9}"
        f"{percentile(result.control_ms, 99):>9.1f}{percentile(result.open_ms, 99):>8.1f}"
        f"{throttled:>11}{median:>15}{worst:>8}{result.stolen_ms:>8}{result.stall_ms:>7.1f}"
    )


def bench_acts(stage: Stage, directory: Path, options: argparse.Namespace) -> None:
    print(f"48 kHz stereo S16, latency asked {options.latency} ms, {options.seconds:g} s an act")
    print(HEAD)
    quiet: Result | None = None
    for name in dict.fromkeys((QUIET.name, *(options.acts or ACTS))):
        act = ACTS[name]
        result = perform(stage, act, directory / name.replace(" ", "-"), options)
        quiet = quiet or result
        print(row(act, result, quiet), flush=True)


def is_listening(dom0: Dom0) -> bool:
    with suppress(NoAgentError):
        return bool(dom0.ask("status"))
    return False


def bench_deaths(stage: Stage, directory: Path, count: int) -> None:
    """Two guests play, each on its side, and the agent is killed again and again. They play files,
    so that nothing waits for this process."""
    dom0, machine = stage.dom0, stage.machine
    seconds = count * max(LIFE_SECONDS) + 10
    sounds = [noise(seconds, frame_octets=2, seed=seed) for seed in (1, 2)]
    left_file = write_wav(directory / "left.wav", on_left(sounds[0]))
    right_file = write_wav(directory / "right.wav", on_right(sounds[1]))
    guests = [Guest(machine, name) for name in ("left", "right")]
    quarantined, stolen_before = len(dom0.events("guest_quarantined")), stolen_ms()
    since_ns = time.monotonic_ns()
    with (
        stage.pulse.listening() as ears,
        guests[0].start("play", str(left_file)) as left,
        guests[1].start("play", str(right_file)) as right,
    ):
        for each in (left, right):
            urgent(each.process, Urgency.SOUNDING)
        for guest in guests:
            dom0.await_event("stream_started", domid=guest.domid)
        for _ in range(count):
            time.sleep(random.uniform(*LIFE_SECONDS))  # noqa: S311 - anywhere
            known = len(dom0.events("agent_started"))
            os.kill(dom0.agent_pid, signal.SIGKILL)
            dom0.await_event("agent_started", count=known + 1)
            # It serves them all the time, so chance has it that it dies of one of them.
            for event in dom0.events("guest_quarantined")[quarantined:]:
                quarantined += 1
                eventually(lambda: is_listening(dom0))
                dom0.ask("release", guest=event["XENSND_GUEST"])
        time.sleep(1)
        heard = ears.heard
    stolen = stolen_ms() - stolen_before
    stall_ms = stage.stalls.longest_ms(since_ns, time.monotonic_ns())
    for guest in guests:
        guest.destroy()
    found = [
        gap
        for side, sound in zip((left_of, right_of), sounds, strict=True)
        for gap in find_gaps(side(heard), sound, frame_octets=2)
    ]
    silent_ms = [gap.silent * 1000 / RATE_HZ for gap in found if gap.silent]
    lost = sum(max(gap.missing, 0) for gap in found)
    print(f"\nthe agent killed {count} times, two guests play: {len(silent_ms)} gaps")
    if silent_ms:
        print(
            f"silent for {statistics.median(silent_ms):.0f} ms in the median, p95 "
            f"{percentile(silent_ms, 95):.0f}, p99 {percentile(silent_ms, 99):.0f}, worst "
            f"{max(silent_ms):.0f}; frames lost: {lost}; in quarantine: {quarantined}; "
            f"stolen: {stolen} ms; longest stall: {stall_ms:.1f} ms"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="an act (default 5); 0: none")
    parser.add_argument("--rounds", type=int, default=10, help="denials an act (default 10)")
    parser.add_argument("--deaths", type=int, default=200, help="of the agent (default 200)")
    parser.add_argument("--latency", type=int, default=20, metavar="MS", help="default 20")
    parser.add_argument("--isolation", choices=["all", "guest"], default="all")
    parser.add_argument("--acts", nargs="*", choices=list(ACTS), help="default: all")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-", dir=MEMORY) as name:
        directory = Path(name)
        agents = [f"--latency={options.latency}", f"--isolation={options.isolation}", "--vchan"]
        with (
            PulseServer(directory / "pulse") as pulse,
            LocalMachine(directory / "xen") as machine,
            Dom0(
                directory / "dom0",
                machine.url,
                pulse.address,
                policy=MAY_RECORD,
                options=agents,
            ) as dom0,
            watched_stalls(directory) as stalls,
        ):
            preferred(machine.pid)
            probe, library = build_probe(directory), build_library(directory)
            stage = Stage(machine, dom0, pulse, stalls, probe, library)
            if options.seconds:
                with pulse.microphone(noise(600)):
                    bench_acts(stage, directory, options)
            if options.deaths:
                bench_deaths(stage, directory, options.deaths)


if __name__ == "__main__":
    main()
