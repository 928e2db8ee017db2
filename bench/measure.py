"""What a sound is late by and what of it is lost, from the logs of probe.c.

Each sample on the left is the number of its frame: 1 to 65535, and again from 1. 0 is silence.
"""

from __future__ import annotations

import bisect
import math
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NUMBERS = 65535
FRAME_OCTETS = 4
RECORD = struct.Struct("<qq")
# From each number on there are as many as there are numbers.
_SEQUENCE = array("H", range(1, NUMBERS + 1)).tobytes() * 2


class Write(NamedTuple):
    """When frames were written, and how many there were by then."""

    time_ns: int
    frames: int


class Chunk(NamedTuple):
    """When octets were heard, and these."""

    time_ns: int
    octets: bytes


class Heard(NamedTuple):
    """When frames were heard, the last one's number (0: silence), and what was wrong with them."""

    time_ns: int
    number: int
    lost_frames: int
    repeated_frames: int


@dataclass(frozen=True, slots=True)
class Lateness:
    """Not a number: nothing was heard."""

    median_ms: float
    p99_ms: float
    lost_frames: int
    repeated_frames: int = 0


def read_writes(path: Path) -> list[Write]:
    data = path.read_bytes()
    whole = len(data) // RECORD.size * RECORD.size
    return [Write(*record) for record in RECORD.iter_unpack(data[:whole])]


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Leaves out a chunk that was not written to its end."""
    data = path.read_bytes()
    at = 0
    while at + RECORD.size <= len(data):
        time_ns, octets = RECORD.unpack_from(data, at)
        at += RECORD.size
        if at + octets > len(data):
            return
        yield Chunk(time_ns, data[at : at + octets])
        at += octets


class Ear:
    """Counts the frames that are lost.

    A gap is a run of zeros after the sound has begun, or a step in the numbers. As many frames are
    lost in it as there are zeros, or as numbers are left out, whichever is more: zeros stand in
    the place of frames.
    """

    def __init__(self) -> None:
        self._expected = 0  # nothing was heard yet
        self._zeros = 0  # of the gap that has not ended
        self._lost = self._repeated = 0

    def hear(self, chunk: Chunk) -> Heard:
        left = memoryview(chunk.octets).cast("H")[::2]
        self._lost = self._repeated = 0
        if not self._is_as_expected(left):
            for number in left:
                self._hear_sample(number)
        return Heard(chunk.time_ns, left[-1] if left else 0, self._lost, self._repeated)

    def _is_as_expected(self, left: memoryview) -> bool:
        if not self._expected or self._zeros:
            return False
        start = (self._expected - 1) * 2
        if left.tobytes() != _SEQUENCE[start : start + 2 * len(left)]:
            return False
        self._expected = (self._expected - 1 + len(left)) % NUMBERS + 1
        return True

    def _hear_sample(self, number: int) -> None:
        if number == 0:
            if self._expected:
                self._zeros += 1
                self._lost += 1
            return
        if self._expected and number != self._expected:
            step = (number - self._expected) % NUMBERS
            if step <= NUMBERS // 2:
                self._lost += max(step - self._zeros, 0)
            else:
                self._repeated += NUMBERS - step
        self._expected = number % NUMBERS + 1
        self._zeros = 0


def lateness(written: Path, heard: Path, since_ns: int, until_ns: int | None = None) -> Lateness:
    """From a frame's writing to its being heard, of what is heard in this time."""
    ear = Ear()
    return late(read_writes(written), map(ear.hear, read_chunks(heard)), since_ns, until_ns)


def late(
    writes: Sequence[Write], hearing: Iterator[Heard], since_ns: int, until_ns: int | None = None
) -> Lateness:
    times = [write.time_ns for write in writes]
    counts = [write.frames for write in writes]
    took_ms: list[float] = []
    lost = repeated = 0
    for heard in hearing:
        if heard.time_ns < since_ns or (until_ns is not None and heard.time_ns > until_ns):
            continue
        lost += heard.lost_frames
        repeated += heard.repeated_frames
        known = bisect.bisect_right(times, heard.time_ns)
        if heard.number and known:
            last = counts[known - 1] - 1  # the index of the last frame written by then
            index = last - (last - (heard.number - 1)) % NUMBERS
            at = bisect.bisect_right(counts, index)
            took_ms.append((heard.time_ns - times[at]) / 1e6)
    if not took_ms:
        return Lateness(math.nan, math.nan, lost, repeated)
    return Lateness(percentile(took_ms, 50), percentile(took_ms, 99), lost, repeated)


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]
