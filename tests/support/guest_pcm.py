"""A guest's card, used from this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar

from agent_guest.card import Card
from agent_guest.pcm import BufferSize, Pcm, SampleSpec
from tests.support.local_machine import LocalMachine
from xensnd.core import Engine
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction
from xensnd.transport import open_transport

SOUND = SampleSpec(SampleFormat.S16_LE, 48000, 2)
T = TypeVar("T")


def with_open_pcm(machine: LocalMachine, name: str, work: Callable[[Pcm], Awaitable[T]]) -> T:
    """Runs `work` on an open playback of that guest."""

    async def run() -> T:
        with closing(open_transport(machine.url, name)) as transport, closing(Engine()) as engine:
            async with Card(transport, engine) as card:
                pcm = card.stream(Direction.PLAYBACK)
                await pcm.open(SOUND, BufferSize(9600, 2400))
                try:
                    return await work(pcm)
                finally:
                    await pcm.close()

    return asyncio.run(run())
