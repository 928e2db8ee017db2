"""What processes cost: Linux' /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
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


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for each in found:
        found += _children(each)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def stolen_ms() -> int:
    """What others on the same host have taken of this machine's processors so far, all together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) * 1000 // os.sysconf("SC_CLK_TCK")


def proportional_kib(pids: Iterable[int]) -> int:
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)
