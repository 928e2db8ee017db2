"""Guests that play: `python -m bench.guest URL LATENCY_MS LOG sound|silence NAME...`.

The first guest plays numbered frames. It writes as late as it may, so that no more than the latency
lies between its ring and the ear, and logs what it wrote when, as probe.c does. The others play
sound or silence from a buffer of 100 ms that they keep filled, as applications do.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import BinaryIO

from agent_guest.card import Card
from agent_guest.pcm import BufferSize, Pcm, SampleSpec
from xensnd.core import Engine
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport

SOUND = SampleSpec(SampleFormat.S16_LE, 48000, 2)
FRAME = SOUND.frame_octets
PERIOD_FRAMES = 480
SECONDS = 10.0
OCTETS = {"sound": b"\x11", "silence": b"\0"}


def frames_of(milliseconds: float) -> int:
    return int(milliseconds * SOUND.rate_hz / 1000)


async def play_numbers(pcm: Pcm, latency_ms: float, log: BinaryIO) -> None:
    buffer = frames_of(100)
    ahead = frames_of(latency_ms - 2.5)
    piece = frames_of(2.5)
    await pcm.open(SOUND, BufferSize(buffer, PERIOD_FRAMES))
    next_number = 1
    started = False
    while True:
        room = ahead - pcm.stats().fill_octets // FRAME
        if room >= piece:
            data = array("I", range(next_number, next_number + room)).tobytes()
            next_number += pcm.write(memoryview(data)) // FRAME
            log.write(struct.pack("<qq", time.monotonic_ns(), next_number - 1))
        if not started:
            await pcm.start()
            started = True
        await pcm.await_room((buffer - ahead + piece) * FRAME, SECONDS)


async def play_filled(pcm: Pcm, octet: bytes) -> None:
    buffer = frames_of(100)
    data = memoryview(octet * buffer * FRAME)
    await pcm.open(SOUND, BufferSize(buffer, frames_of(10)))
    pcm.write(data)
    await pcm.start()
    while True:
        await pcm.await_room(buffer // 4 * FRAME, SECONDS)
        pcm.write(data)


async def play(
    url: str, name: str, latency_ms: float, log: BinaryIO | None, octet: bytes = b""
) -> None:
    transport = open_transport(url, name)
    async with Card(transport, Engine()) as card:
        pcm = card.stream(Direction.PLAYBACK)
        if log:
            await play_numbers(pcm, latency_ms, log)
        else:
            await play_filled(pcm, octet)


async def main(url: str, latency_ms: str, log_name: str, sound: str, *names: str) -> None:
    with Path(log_name).open("wb", buffering=0) as log:
        first, *others = names
        await asyncio.gather(
            play(url, first, float(latency_ms), log),
            *(play(url, name, 0, None, OCTETS[sound]) for name in others),
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
