"""A guest that records and gives on what it has, 2.5 ms at a time: `python -m bench.recorder URL
NAME`. What xensnd-guest gives in pieces of 25 ms stands here when it arrives.
"""

from __future__ import annotations

import asyncio
import os
import sys

from agent_guest.card import Card
from agent_guest.pcm import BufferSize
from bench.guest import FRAME, SOUND, frames_of
from xensnd.core import Engine
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport

SECONDS = 10.0


async def main(url: str, name: str) -> None:
    piece = frames_of(2.5)
    async with Card(open_transport(url, name), Engine()) as card:
        pcm = card.stream(Direction.CAPTURE)
        await pcm.open(SOUND, BufferSize(frames_of(200), piece))
        await pcm.start()
        while True:
            await pcm.await_fill(piece * FRAME, SECONDS)
            os.write(sys.stdout.fileno(), pcm.read(frames_of(200) * FRAME))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
