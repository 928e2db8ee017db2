"""Sounds and what was heard of them: how much came unbroken, in pieces, or resampled."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from itertools import pairwise
from os.path import commonprefix

RATE_HZ = 48000
TONE_HZ = 480
LOUD = 8000


def tone(seconds: float) -> bytes:
    """Stereo S16."""
    lap = RATE_HZ // TONE_HZ
    wave = [round(16000 * math.sin(2 * math.pi * i / lap)) for i in range(lap)]
    both = array("h", (sample for sample in wave for _ in range(2)))
    return both.tobytes() * round(seconds * TONE_HZ)


def tone_seconds(heard: bytes) -> float:
    """How long the longest unbroken tone was: a lap without a loud sample ends it, and so does a
    lap with too many sign changes."""
    left = memoryview(heard[: len(heard) // 4 * 4]).cast("h")[::2].tolist()
    lap = RATE_HZ // TONE_HZ
    longest = run = 0
    for at in range(0, len(left) - lap, lap):
        part = left[at : at + lap]
        changes = sum((a < 0) != (b < 0) for a, b in pairwise(part))
        run = run + 1 if max(part) > LOUD and min(part) < -LOUD and changes <= 3 else 0
        longest = max(longest, run)
    return longest / TONE_HZ


def without_silence(heard: bytes) -> bytes:
    """Noise has no octet 0, so what is left is all that was played, whatever pauses it had."""
    return heard.replace(b"\0", b"")


def seconds_heard(seconds: float) -> Callable[[bytes], bool]:
    """Of stereo S16 noise, for listen_until()."""
    return lambda heard: len(without_silence(heard)) > seconds * 4 * RATE_HZ


def missing_msec(played: bytes, heard: bytes) -> list[int]:
    """Where in stereo S16 noise the 10 ms begin that were not heard. Of the rest some may be heard
    twice: what is not known to be heard when something dies is played again."""
    heard, piece = without_silence(heard), 4 * RATE_HZ // 100
    starts = range(0, len(played), piece)
    return [10 * at // piece for at in starts if played[at : at + piece] not in heard]


def stretches(heard: bytes, sound: bytes) -> list[tuple[int, int]]:
    """The parts of this noise, each (from, to) in it, that `heard` is made of and of nothing
    else: one if nothing is missing."""
    found = []
    at = 0
    while at < len(heard):
        start = sound.find(heard[at : at + 64])
        assert start >= 0, (
            f"octet {at} of {len(heard)} is none of it: {heard[at : at + 16].hex(' ')}"
        )
        rest = sound[start : start + len(heard) - at]
        octets = len(commonprefix([heard[at:], rest]))  # noqa: RUF071  (these are no paths)
        found.append((start, start + octets))
        at += octets
    return found
