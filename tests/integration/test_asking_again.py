"""Nobody was there to answer: the guest is asked about again when it uses the stream again."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from agent_guest.card import Card
from agent_guest.pcm import BufferSize, SampleSpec
from tests.support.agents import PATIENT, Dom0
from tests.support.asking import ASK
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from xensnd.core import Engine
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction

SOUND = SampleSpec(SampleFormat.S16_LE, 48000, 2)


@pytest.mark.usefixtures("work")
def test_stream_that_starts_anew_is_asked_about_once_the_quiet_is_over(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer
) -> None:
    options = [PATIENT, "--ask-seconds=1"]
    directory = tmp_path / "dom0"
    with (
        Dom0(directory, machine.url, pulse.address, policy=ASK, options=options) as dom0,
        closing(Engine()) as engine,
    ):
        dom0.await_event("device_made", guest="work")

        async def heard_of(kind: str, count: int = 1, seconds: float = 10) -> None:
            await asyncio.to_thread(
                dom0.await_event, kind, guest="work", count=count, seconds=seconds
            )

        async def record() -> None:
            async with Card(machine.transport("work"), engine) as card:
                pcm = card.stream(Direction.CAPTURE)
                await pcm.open(SOUND, BufferSize(48000, 12000))
                await pcm.start()
                await heard_of("prompt_answered")
                await pcm.stop()
                await pcm.start()
                await heard_of("limit_hit")
                assert len(dom0.events("prompt_shown")) == 1
                await heard_of("prompt_shown", 2, 15)
                await pcm.close()

        asyncio.run(record())
        answered = dom0.events("prompt_answered")[0]
        assert answered["XENSND_ANSWER"] == "no answer"
        (hit,) = dom0.events("limit_hit")
        assert hit["MESSAGE"] == (
            "work: capture stays silent, and no question is asked: "
            "nobody answered less than 10 s ago"
        )
