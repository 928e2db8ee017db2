"""Frames that are their own numbers, from 1 on: stereo S16 at 48 kHz, the lower half on the left.

    python3 -m tests.xen.counted write SECONDS                  to standard output
    python3 -m tests.xen.counted play SECONDS PERIOD BUFFER     through the stock driver's card
    ... | python3 -m tests.xen.counted judge SECONDS            looks for the breaks

`play` sets the sizes, in frames, by the kernel's own calls. When ALSA gives up it goes on as
players do; it prints at the end how often that was, and how many seconds all took. `judge` prints
"ready" when it hears something, the first frame's number, each break as soon as it is over ("[AT,
SILENT, MISSING]", as heard.Gap has it), and "end" after the last frame.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator

from tests.xen.raw_pcm import DRAIN, HW_PARAMS, PREPARE, hw_params

RATE_HZ = 48000
PIECE_FRAMES = RATE_HZ // 4
FRAME_OCTETS = 4
BACK_SECONDS = 20


def pieces(seconds: int) -> Iterator[bytes]:
    end = seconds * RATE_HZ + 1
    for first in range(1, end, PIECE_FRAMES):
        yield array("I", range(first, min(first + PIECE_FRAMES, end))).tobytes()


def write(seconds: int) -> None:
    for piece in pieces(seconds):
        sys.stdout.buffer.write(piece)


def play(seconds: int, period_frames: int, buffer_frames: int) -> None:
    pcm = os.open("/dev/snd/pcmC0D0p", os.O_WRONLY)
    fcntl.ioctl(pcm, HW_PARAMS, hw_params(period_frames, buffer_frames))
    fcntl.ioctl(pcm, PREPARE)
    given_up = 0
    began = time.monotonic()
    for piece in pieces(seconds):
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(pcm, rest) :]
            except OSError:
                given_up += 1
                prepare_again(pcm)
    try:
        fcntl.ioctl(pcm, DRAIN)
    except OSError:
        given_up += 1
    print(json.dumps([given_up, time.monotonic() - began]))


def prepare_again(pcm: int) -> None:
    """As soon as there is somebody who answers."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            fcntl.ioctl(pcm, PREPARE)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class Judge:
    def __init__(self, say: Callable[[object], None]) -> None:
        self._say = say
        self._at = 0  # frames of what was heard
        self._silent = 0
        self._next: int | None = None  # number

    def hear(self, frames: array[int]) -> None:
        count = len(frames)
        if self._next and not self._silent and frames == _numbers(self._next, count):
            self._next += count
        elif not any(frames):
            self._silent += count
        else:
            self._hear_each(frames)
        self._at += count

    def has_heard(self, number: int) -> bool:
        return self._next == number + 1

    def _hear_each(self, frames: array[int]) -> None:
        for offset, number in enumerate(frames):
            if not number:
                self._silent += 1
                continue
            if self._next is None:
                self._say(number)
            elif self._silent or number != self._next:
                at = self._at + offset - self._silent
                self._say([at, self._silent, number - self._next])
            self._silent = 0
            self._next = number + 1


def _numbers(first: int, count: int) -> array[int]:
    return array("I", range(first, first + count))


def judge(seconds: int) -> None:
    def say(word: object) -> None:
        print(json.dumps(word), flush=True)

    sys.stdin.buffer.read(FRAME_OCTETS)
    say("ready")
    judging = Judge(say)
    while not judging.has_heard(seconds * RATE_HZ):
        octets = sys.stdin.buffer.read(PIECE_FRAMES // 5 * FRAME_OCTETS)
        if not octets:
            return
        judging.hear(array("I", octets))
    say("end")


def main() -> None:
    command, *numbers = sys.argv[1:]
    commands: dict[str, Callable[..., None]] = {"write": write, "play": play, "judge": judge}
    commands[command](*map(int, numbers))


if __name__ == "__main__":
    main()
