"""Sounds and what was heard of them: how much came unbroken, in pieces, or resampled."""

from __future__ import annotations

import math
from array import array
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

RATE_HZ = 48000
TONE_HZ = 480
LOUD = 8000
FRAME_OCTETS = 4
SEED_OCTETS = 64


def tone(seconds: float) -> bytes:
    """Stereo S16."""
    lap = RATE_HZ // TONE_HZ
    wave = [round(16000 * math.sin(2 * math.pi * i / lap)) for i in range(lap)]
    both = array("h", (sample for sample in wave for _ in range(2)))
    return both.tobytes() * round(seconds * TONE_HZ)


class _ToneMeter:
    """How long the longest unbroken tone was: a lap without a loud sample ends it, and so does a
    lap with too many sign changes. Each lap is looked at once, however often it is asked."""

    def __init__(self, after: int = 0) -> None:
        self._at = after  # octets
        self._run = self._longest = 0  # laps

    def seconds(self, heard: bytes) -> float:
        """Of all that was heard by now."""
        lap_octets = RATE_HZ // TONE_HZ * FRAME_OCTETS
        while self._at + lap_octets < len(heard):
            lap = memoryview(heard)[self._at : self._at + lap_octets].cast("h")[::2].tolist()
            changes = sum((a < 0) != (b < 0) for a, b in pairwise(lap))
            is_tone = max(lap) > LOUD and min(lap) < -LOUD and changes <= 3
            self._run = self._run + 1 if is_tone else 0
            self._longest = max(self._longest, self._run)
            self._at += lap_octets
        return self._longest / TONE_HZ


def tone_seconds(heard: bytes) -> float:
    """The longest unbroken tone."""
    return _ToneMeter().seconds(heard)


def tone_lasts(seconds: float, *, after: int = 0) -> Callable[[bytes], bool]:
    """Whether an unbroken tone is longer, `after` so many octets, for listen_until()."""
    meter = _ToneMeter(after)
    return lambda heard: meter.seconds(heard) > seconds


def without_silence(heard: bytes) -> bytes:
    """Noise has no octet 0, so what is left is all that was played, whatever pauses it had."""
    return heard.replace(b"\0", b"")


def seconds_heard(seconds: float, rate_hz: int = RATE_HZ) -> Callable[[bytes], bool]:
    """Of stereo S16 noise, for listen_until()."""
    return lambda heard: len(without_silence(heard)) > seconds * FRAME_OCTETS * rate_hz


def missing_msec(played: bytes, heard: bytes) -> list[int]:
    """Where in stereo S16 noise the 10 ms begin that were not heard. Of the rest some may be heard
    twice: what is not known to be heard when something dies is played again."""
    heard, piece = without_silence(heard), 4 * RATE_HZ // 100
    starts = range(0, len(played), piece)
    return [10 * at // piece for at in starts if played[at : at + piece] not in heard]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a sound that was heard without a break. In frames."""

    at: int  # of what was heard
    start: int  # of the sound
    end: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a sound broke off and went on. In frames."""

    at: int  # of what was heard, where it broke off
    silent: int  # that were heard in between
    missing: int  # of the sound, that were not heard; below 0: so many were heard again

    def __str__(self) -> str:
        lost = f"{abs(self.missing)} frames {'lost' if self.missing >= 0 else 'heard again'}"
        return f"at frame {self.at}: {self.silent} frames of silence, {lost}"


def stretches(heard: bytes, sound: bytes, frame_octets: int = FRAME_OCTETS) -> list[Stretch]:
    """What `heard` is made of: parts of this noise, silence, and nothing else."""
    found: list[Stretch] = []
    at = end = 0
    while rest := heard[at:].lstrip(b"\0"):
        at = len(heard) - len(rest)
        known = rest[:SEED_OCTETS].split(b"\0")[0]
        # Further on if it is there: so short a part as silence may leave is elsewhere as well.
        start = max(sound.find(known, end), sound.find(known))
        assert start >= 0, f"octet {at} is none of it: {known[:16].hex(' ')}; before: {found}"
        octets = _same_octets(memoryview(rest), memoryview(sound)[start:])
        # By chance the next part may begin as this one would go on.
        octets -= octets % frame_octets
        assert octets, f"octet {at} begins a part of a frame; before: {found}"
        assert (at % frame_octets, start % frame_octets) == (0, 0), f"no whole frames: {found}"
        end = start + octets
        found.append(Stretch(at // frame_octets, start // frame_octets, end // frame_octets))
        at += octets
    return found


def _same_octets(one: memoryview, other: memoryview) -> int:
    """How many they have in common from the beginning on."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect(lengths, False, key=lambda octets: one[:octets] != other[:octets])


def gaps(heard: bytes, sound: bytes, frame_octets: int = FRAME_OCTETS) -> list[Gap]:
    """find_gaps(); those of a test that fails are shown, and those of all with -rP."""
    found = find_gaps(heard, sound, frame_octets)
    print("gaps:", "; ".join(map(str, found)) or "none")
    return found


def find_gaps(heard: bytes, sound: bytes, frame_octets: int = FRAME_OCTETS) -> list[Gap]:
    """Between the first and the last frame that was heard of this noise."""
    found = []
    for before, after in pairwise(stretches(heard, sound, frame_octets)):
        at = before.at + before.end - before.start
        found.append(Gap(at, silent=after.at - at, missing=after.start - before.end))
    return found


def gaps_of_whole(heard: bytes, played: bytes, *, queued_msec: int) -> list[Gap]:
    """Of noise that was heard from its first frame to its last, in order and each at least once.
    AssertionError if it was not, or if more was heard again than may have been queued: what is
    not known to be heard when something dies is played again."""
    known = stretches(heard, played)
    assert known, "nothing was heard"
    assert (known[0].start, known[-1].end) == (0, len(played) // FRAME_OCTETS), known
    found = gaps(heard, played)
    assert all(-queued_msec * RATE_HZ // 1000 <= each.missing <= 0 for each in found)
    return found
