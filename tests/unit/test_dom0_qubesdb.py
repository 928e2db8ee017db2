"""QubesDB's wire: what the client makes of a daemon, and of one that is broken."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agent_dom0.qubes import qubesdb
from agent_dom0.qubes.qubesdb import QubesDb
from tests.support.qubesdb import CHANGED, HEADER, VALUE, QubesDbDaemon

Work = Callable[[QubesDb], Awaitable[None]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[QubesDbDaemon]:
    with QubesDbDaemon(tmp_path / "qubesdb.sock") as daemon:
        yield daemon


def with_client(path: Path, work: Work) -> None:
    async def run() -> None:
        db = await QubesDb.connect(path, lambda: None)
        try:
            await work(db)
        finally:
            db.close()

    asyncio.run(run())


def test_what_is_written_is_read(daemon: QubesDbDaemon) -> None:
    async def work(db: QubesDb) -> None:
        assert await db.read("/a") is None
        await db.write("/a", "1")
        assert await db.read("/a") == "1"

    with_client(daemon.path, work)
    assert daemon.get("/a") == "1"


def test_changes_below_a_watched_path_are_told_and_no_others(daemon: QubesDbDaemon) -> None:
    async def work(db: QubesDb) -> None:
        await db.watch("/a/")
        daemon.put("/a/work", "1")
        daemon.put("/ab", "1")
        daemon.remove("/a/work")
        daemon.put("/a/web", "1")
        assert await db.read("/a/web") == "1"  # what was told before this was answered is here
        assert db.changes() == {"/a/work", "/a/web"}
        assert db.changes() == set()

    with_client(daemon.path, work)


def test_refusal_is_told(daemon: QubesDbDaemon) -> None:
    daemon.is_read_only = True

    async def work(db: QubesDb) -> None:
        with pytest.raises(OSError, match="QubesDB refuses to write /a"):
            await db.write("/a", "1")

    with_client(daemon.path, work)


def test_path_longer_than_the_wire_has_room_for_is_ours_to_avoid(daemon: QubesDbDaemon) -> None:
    async def work(db: QubesDb) -> None:
        with pytest.raises(ValueError, match="too long for QubesDB"):
            await db.read("/" + "a" * 63)

    with_client(daemon.path, work)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n" * (HEADER.size - 1),
        HEADER.pack(VALUE, b"/a", 4_000_000_000),
        HEADER.pack(VALUE, b"/a", 5) + b"1",
        HEADER.pack(CHANGED, b"\xff" * 64, 0),
    ],
    ids=["nothing", "half a header", "endless value", "half a value", "only a change"],
)
def test_daemon_that_breaks_off_is_lost(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(HEADER.size)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()

        async def work(db: QubesDb) -> None:
            with pytest.raises(ConnectionResetError, match="has closed the connection"):
                await db.read("/a")
            with pytest.raises(ConnectionResetError):
                db.changes()

        with_client(path, work)
        thread.join()


def test_daemon_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qubesdb, "ANSWER_SECONDS", 0.05)
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        async def work(db: QubesDb) -> None:
            with pytest.raises(TimeoutError):
                await db.read("/a")

        with_client(path, work)
