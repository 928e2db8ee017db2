"""Engines apart in the agent's event loop, when they are late: once is no fault."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.engines import replies
from agent_dom0.engines.apart import EngineApart
from agent_dom0.engines.follow import EnginesApart, _Followed
from agent_dom0.engines.interface import EngineLate
from agent_dom0.engines.zygote import Zygote
from xensnd.transport.interface import Transport

GUEST = 7


def answers_slowly(while_there: Path) -> Callable[[socket.socket], None]:
    """What a process does that answers each call with its number, and none while there is this
    file. Nor is it ready before."""

    def work(control: socket.socket) -> None:
        while while_there.exists():
            time.sleep(0.001)
        socket.send_fds(control, [b"{}"], [os.eventfd(0)])
        number = 0
        while control.recv(1 << 16):
            while while_there.exists():
                time.sleep(0.001)
            number += 1
            control.send(b'{"n": %d, "is": %d}' % (number, number))

    return work


class Scene:
    def __init__(self, directory: Path) -> None:
        self.slow = directory / "slow"
        self.zygote = Zygote(directory / "lock", answers_slowly(self.slow))
        self.lost: list[tuple[int, str, bool]] = []
        self.has_lost = asyncio.Event()
        self.engines = EnginesApart(
            cast(Transport, None), self.zygote, lambda: None, self.note_lost
        )
        self.engine = cast(_Followed, self.engines.of_guest(GUEST))

    def note_lost(self, domid: int, why: str, is_fault: bool) -> None:
        self.lost.append((domid, why, is_fault))
        self.has_lost.set()

    async def be_late(self) -> None:
        """An engine that works is late with one answer, and gives it then."""
        self.has_lost.clear()
        self.engine.call(replies.integer, "start")
        self.slow.touch()
        with pytest.raises(EngineLate):
            self.engine.call(replies.integer, "start")
        self.slow.unlink()
        await asyncio.wait_for(self.has_lost.wait(), 5)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tests that give way to all others: an engine that is not told to be late is not."""
    monkeypatch.setattr("agent_dom0.engines.follow.PATIENCE_SECONDS", 0.25)
    monkeypatch.setattr("agent_dom0.engines.follow.LATE_AGAIN_PATIENCE", 1.2)
    monkeypatch.setattr("agent_dom0.engines.apart.FIRST_ANSWERS", 0)


def in_scene(directory: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene(directory)
        with closing(scene.zygote):
            await test(scene)
            scene.engine.close()

    asyncio.run(run())


def test_engine_that_is_late_once_is_not_blamed_and_the_next_one_is(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.be_late()
        assert scene.lost == [(GUEST, "it was late", False)]
        await scene.be_late()
        assert scene.lost[1:] == [(GUEST, "it was late", True)]

    in_scene(tmp_path, test)


def test_engine_that_takes_over_from_a_late_one_is_waited_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_dom0.engines.follow.LATE_AGAIN_PATIENCE", 4)

    async def test(scene: Scene) -> None:
        await scene.be_late()
        assert scene.engine.call(replies.integer, "start") > 0
        scene.slow.touch()
        asyncio.get_running_loop().run_in_executor(None, slow_down, scene.slow)
        assert scene.engine.call(replies.integer, "start") > 0
        assert len(scene.lost) == 1

    in_scene(tmp_path, test)


def slow_down(file: Path) -> None:
    time.sleep(0.5)
    file.unlink()


def test_engine_of_a_slow_machine_is_waited_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_dom0.engines.follow.PATIENCE_SECONDS", 0.001)
    monkeypatch.setattr("agent_dom0.engines.apart.FIRST_ANSWERS", 10**6)

    async def test(scene: Scene) -> None:
        scene.engine.call(replies.integer, "start")
        scene.slow.touch()
        asyncio.get_running_loop().run_in_executor(None, slow_down, scene.slow)
        assert scene.engine.call(replies.integer, "start") > 0

    in_scene(tmp_path, test)


def test_who_is_in_haste_is_shown_what_was_and_who_is_not_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_dom0.engines.follow.PATIENCE_SECONDS", 5)

    async def test(scene: Scene) -> None:
        first = scene.engine.call(replies.integer, "start")
        scene.slow.touch()
        for _ in range(2):
            with scene.engines.in_haste():
                assert scene.engine.look(replies.integer, "start") is None
        asyncio.get_running_loop().run_in_executor(None, slow_down, scene.slow)
        assert scene.engine.call(replies.integer, "start") == first + 2  # it was looked at once
        assert not scene.lost

    in_scene(tmp_path, test)


def test_engine_that_does_not_answer_at_all_is_ended_and_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_dom0.engines.follow.REPLY_SECONDS_MAX", 0.02)
    monkeypatch.setattr("agent_dom0.engines.calls.REPLY_SECONDS_MAX", 0.02)

    async def test(scene: Scene) -> None:
        scene.engine.call(replies.integer, "start")
        scene.slow.touch()
        with pytest.raises(EngineLate):
            scene.engine.call(replies.integer, "start")
        await asyncio.wait_for(scene.has_lost.wait(), 5)
        assert scene.lost == [(GUEST, "it does not respond", True)]

    in_scene(tmp_path, test)


def test_engine_is_told_of_its_guests_budget_now_and_when_it_starts(tmp_path: Path) -> None:
    told = tmp_path / "told"

    def work(control: socket.socket) -> None:
        socket.send_fds(control, [b"{}"], [os.eventfd(0)])
        while call := control.recv(1 << 16):
            asked = json.loads(call)
            with told.open("a") as file:
                file.write(f"{asked['do']} {asked.get('percent')}\n")
            reply = {"n": asked["n"], "is": 1 if asked["do"] == "share" else None}
            control.send(json.dumps(reply).encode())

    with closing(Zygote(tmp_path / "lock", work)) as zygote:
        engine = EngineApart(cast(Transport, None), zygote, lambda _: None)
        engine.set_budget(50)
        assert not told.exists()
        engine.call(replies.nothing, "start")
        engine.set_budget(200)
        engine.close()
    said = ["share None", "budget 50", "start None", "budget 200"]
    assert told.read_text().splitlines() == said


def test_loop_goes_on_while_an_engine_starts(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.slow.touch()
        is_told = asyncio.Event()
        assert not scene.engine.is_ready(is_told.set)
        assert not scene.engine.is_ready(is_told.set)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(is_told.wait(), 0.05)
        scene.slow.unlink()
        await asyncio.wait_for(is_told.wait(), 5)
        assert scene.engine.is_ready(is_told.set)
        assert scene.engine.call(replies.integer, "start") > 0
        assert not scene.lost

    in_scene(tmp_path, test)


def test_who_waits_for_an_engine_is_told_if_it_was_needed_sooner(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        is_told = asyncio.Event()
        assert not scene.engine.is_ready(is_told.set)
        assert scene.engine.call(replies.integer, "start") > 0
        await asyncio.wait_for(is_told.wait(), 5)
        assert scene.engine.is_ready(is_told.set)

    in_scene(tmp_path, test)


def test_engine_that_does_not_get_ready_in_time_is_an_error_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_dom0.engines.follow.START_SECONDS_MAX", 0.05)

    async def test(scene: Scene) -> None:
        scene.slow.touch()
        is_told = asyncio.Event()
        assert not scene.engine.is_ready(is_told.set)
        await asyncio.wait_for(is_told.wait(), 5)
        with pytest.raises(OSError, match="its engine does not start"):
            scene.engine.is_ready(is_told.set)
        monkeypatch.setattr("agent_dom0.engines.follow.START_SECONDS_MAX", 5)
        scene.slow.unlink()
        is_told.clear()
        assert not scene.engine.is_ready(is_told.set)
        await asyncio.wait_for(is_told.wait(), 5)
        assert scene.engine.is_ready(is_told.set)

    in_scene(tmp_path, test)


def test_engine_that_ends_while_it_starts_is_an_error(tmp_path: Path) -> None:
    async def run() -> None:
        zygote = Zygote(tmp_path / "lock", lambda _control: None)
        engines = EnginesApart(cast(Transport, None), zygote, lambda: None, lambda *_: None)
        engine, is_told = engines.of_guest(GUEST), asyncio.Event()
        assert not engine.is_ready(is_told.set)
        await asyncio.wait_for(is_told.wait(), 5)
        with pytest.raises(OSError, match="its engine does not start"):
            engine.is_ready(is_told.set)
        engine.close()
        zygote.close()

    asyncio.run(run())
