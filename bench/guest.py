"""Guests of one kind, all in this process: `python -P bench/guest.py URL LATENCY_MS LOG NAME...`.

Each has a buffer of 100 ms with periods of 10 ms, and plays or records 48 kHz stereo S16. While
they play they cost little, so that many of them leave the machine to what is measured. Of the first
one's sound the left channel has the frames' numbers, of the others' the right one. LOG gets what
the first one wrote, or heard, in the form of probe.c.

This file imports nothing of `bench`: the interpreter of the checkout whose guests they are runs it,
which may be another one. It says `playing` on standard output when all of them do.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from array import array
from contextlib import AsyncExitStack
from pathlib import Path
from struct import pack
from typing import Any, BinaryIO

from xensnd.core._core import ffi, lib

from agent_guest import pcm as guest_pcm
from agent_guest.card import Card
from agent_guest.pcm import BufferSize, Pcm
from xensnd.core import Engine
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport

SPEC: Any = vars(guest_pcm).get("SampleSpec") or vars(guest_pcm)["Sound"]  # as it was called once
SOUND = SPEC(SampleFormat.S16_LE, 48000, 2)  # or of another rate: --rate
FRAME = SOUND.frame_octets
NUMBERS = 65535
BUFFER_MS, PERIOD_MS = 100, 10
# A guest that writes as late as it may writes no less than this at a time.
PIECE_MS = 2.5
RECORD_MS = 1.0
# Guests are independent of each other: they write at so many different times.
PHASES = 4


def frames_of(milliseconds: float) -> int:
    return int(milliseconds * SOUND.rate_hz / 1000)


@functools.cache
def make_samples(side: str) -> Any:
    """All numbers, and again those that a buffer may take after the last one."""
    numbers = [*range(1, NUMBERS + 1), *range(1, frames_of(BUFFER_MS) + 1)]
    factor = {"left": 1, "right": 1 << 16, "silent": 0}[side]
    return ffi.from_buffer("uint8_t[]", array("I", [number * factor for number in numbers]))


class Player:
    """Keeps so many frames in the buffer. It calls the core itself, not through Pcm, to cost
    little."""

    def __init__(
        self, pcm: Pcm, log: BinaryIO | None, side: str, fill_ms: float, least_ms: float
    ) -> None:
        self._handle: Any = vars(pcm)["_core"].handle
        self._stats: Any = ffi.new("struct xn_frontend_stats *")
        self._log = log
        self._samples = make_samples(side)
        self._target = frames_of(fill_ms) * FRAME
        self._least = frames_of(least_ms) * FRAME
        self._written = 0

    def step(self) -> None:
        lib.xn_frontend_stats(self._handle, self._stats)
        room = self._target - self._stats.fill_octets
        if room < self._least:
            return
        now_ns = time.monotonic_ns()
        samples = self._samples + self._written % NUMBERS * FRAME
        self._written += lib.xn_frontend_write(self._handle, samples, room) // FRAME
        if self._log:
            self._log.write(pack("<qq", now_ns, self._written))


class Recorder:
    """Reads whatever there is."""

    def __init__(self, pcm: Pcm, log: BinaryIO | None) -> None:
        self._handle: Any = vars(pcm)["_core"].handle
        self._log = log
        self._octets = frames_of(BUFFER_MS) * FRAME
        self._data = ffi.new("uint8_t[]", self._octets)

    def step(self) -> None:
        octets = lib.xn_frontend_read(self._handle, self._data, self._octets)
        if self._log and octets:
            self._log.write(pack("<qq", time.monotonic_ns(), octets))
            self._log.write(ffi.buffer(self._data, octets))


def take_turns(streams: list[Player] | list[Recorder], interval_ms: float) -> None:
    """Lets each stream have its turn once in the interval, without an end."""
    phases = min(PHASES, len(streams))
    tick = interval_ms / 1000 / phases
    due = time.monotonic()
    while True:
        for phase in range(phases):
            due += tick
            time.sleep(max(due - time.monotonic(), 0))
            for stream in streams[phase::phases]:
                stream.step()


async def main(options: argparse.Namespace, log: BinaryIO | None) -> None:
    async with AsyncExitStack() as stack:
        cards = [Card(open_transport(options.url, name), Engine()) for name in options.names]
        await asyncio.gather(*map(stack.enter_async_context, cards))
        if options.idle:
            print("playing", flush=True)
            await asyncio.Event().wait()
        await open_and_play(options, cards, log)


async def open_and_play(
    options: argparse.Namespace, cards: list[Card], log: BinaryIO | None
) -> None:
    direction = Direction.CAPTURE if options.record else Direction.PLAYBACK
    pcms = [card.stream(direction) for card in cards]
    size = BufferSize(frames_of(BUFFER_MS), frames_of(PERIOD_MS))
    await asyncio.gather(*(pcm.open(SOUND, size) for pcm in pcms))
    logs = [log, *[None] * len(pcms)]
    if options.record:
        recorders = [Recorder(pcm, log) for pcm, log in zip(pcms, logs, strict=False)]
        await asyncio.gather(*(pcm.start() for pcm in pcms))
        print("playing", flush=True)
        take_turns(recorders, RECORD_MS)
    fill_ms = BUFFER_MS if options.full else options.latency_ms - PIECE_MS
    least_ms = PERIOD_MS if options.full else PIECE_MS
    players = [
        Player(pcm, log, options.silent or ("right" if number else "left"), fill_ms, least_ms)
        for number, (pcm, log) in enumerate(zip(pcms, logs, strict=False))
    ]
    for player, pcm in zip(players, pcms, strict=True):
        player.step()
        await pcm.start()
    print("playing", flush=True)
    take_turns(players, least_ms)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("latency_ms", type=float)
    parser.add_argument("log", help="-: none")
    parser.add_argument("names", nargs="+")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="keep the whole buffer full")
    kind.add_argument("--record", action="store_true")
    kind.add_argument("--idle", action="store_true", help="be connected, and open no stream")
    parser.add_argument("--rate", type=int, default=48000, metavar="HZ")
    parser.add_argument("--silent", action="store_const", const="silent")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    SOUND = SPEC(SampleFormat.S16_LE, given.rate, 2)
    with Path("/dev/null" if given.log == "-" else given.log).open("wb", buffering=0) as file:
        asyncio.run(main(given, None if given.log == "-" else file))
