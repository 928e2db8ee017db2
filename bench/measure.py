"""What processes cost, and what their sound is late by. Linux' /proc, and the logs of probe.c."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_seconds: float
    switches: int  # voluntary: each is a wakeup
    interpreter_switches: int  # of the first thread alone, where Python is

    def __sub__(self, before: Cost) -> Cost:
        return Cost(
            self.cpu_seconds - before.cpu_seconds,
            self.switches - before.switches,
            self.interpreter_switches - before.interpreter_switches,
        )


def cost(pids: Iterable[int]) -> Cost:
    """Up to now, of all their threads. CPU to the nanosecond, from the scheduler."""
    cpu_ns = switches = interpreter = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            cpu_ns += int((thread / "schedstat").read_text().split()[0])
            count = _field(thread / "status", "voluntary_ctxt_switches")
            switches += count
            interpreter += count if thread.name == str(pid) else 0
    return Cost(cpu_ns / 1e9, switches, interpreter)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proportional_kib(pids: Iterable[int]) -> int:
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Lateness:
    median_ms: float
    p99_ms: float
    lost_frames: int


def lateness(written: Path, heard: Path, since_ns: int) -> Lateness:
    """From a frame's writing to its being heard, of the frames heard after `since_ns`."""
    writes = _records(written)
    numbers = [number for _, number in writes]
    late: list[float] = []
    lost = 0
    counting = False
    for time_ns, value in _records(heard):
        if time_ns == 0:
            lost += max(value, 0) if counting else 0
            continue
        counting = time_ns >= since_ns
        at = bisect.bisect_left(numbers, value)
        if counting and at < len(writes):
            late.append((time_ns - writes[at][0]) / 1e6)
    if not late:
        return Lateness(float("nan"), float("nan"), lost)
    return Lateness(percentile(late, 50), percentile(late, 99), lost)


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]


def _records(path: Path) -> list[tuple[int, int]]:
    data = path.read_bytes()
    return [struct.unpack_from("<qq", data, at) for at in range(0, len(data) - 15, 16)]
