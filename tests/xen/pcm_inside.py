"""In a guest: an open playback stream of its card, whose volume is asked for and set as one is
told, a JSON line at a time. The other end is peer.Peer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing

from agent_guest.card import Card
from agent_guest.pcm import SampleSpec
from agent_guest.play_record import choose_size
from xensnd.core import Engine
from xensnd.errors import XensndError
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport

SOUND = SampleSpec(SampleFormat.S16_LE, 48000, 2)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    with closing(open_transport("xen:")) as transport, closing(Engine()) as engine:
        async with Card(transport, engine) as card:
            pcm = card.stream(Direction.PLAYBACK)
            await pcm.open(SOUND, await choose_size(pcm, SOUND, 4))
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                what, *arguments = json.loads(line)
                try:
                    answer = {"result": await getattr(pcm, what)(*arguments)}
                except XensndError as error:
                    answer = {"refused": f"{type(error).__name__}: {error}"}
                print(json.dumps(answer), flush=True)
            await pcm.close()


if __name__ == "__main__":
    asyncio.run(serve())
