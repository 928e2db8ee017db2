"""The process of a guest's engine, when it does what it should not: the agent loses it at once, and
nothing else."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.engines import replies
from agent_dom0.engines.apart import EngineApart
from agent_dom0.engines.calls import EngineCalls
from agent_dom0.engines.interface import EngineLate, EngineLost
from agent_dom0.engines.process import EngineProcess
from agent_dom0.engines.zygote import Zygote
from xensnd.core import Violation
from xensnd.transport.factory import open_receiver
from xensnd.transport.interface import Transport

NO_ENGINE = "it says what an engine does not say"
# violation, error, index, source, request, word, is_open
STREAM = [0, None, None, None, None, None, True]
ENDS_SECONDS = 5.0

Answer = Callable[[int], bytes]


def says(answer: Answer) -> Callable[[socket.socket], None]:
    """What a process does that answers so, whatever it is asked."""

    def work(control: socket.socket) -> None:
        socket.send_fds(control, [b"{}"], [os.eventfd(0)])
        while call := control.recv(1 << 16):
            if octets := answer(json.loads(call)["n"]):
                control.send(octets)

    return work


def result(value: object) -> Answer:
    return lambda number: json.dumps({"n": number, "is": value}).encode()


def snapshot(stream: object = STREAM, **others: object) -> Answer:
    return result({"pauses": 0, "clients": {}, "streams": {"1": stream}} | others)


def start(zygote: Zygote) -> EngineCalls:
    return EngineCalls(zygote, zygote.start().wait())


def has_ended(connection: EngineCalls) -> bool:
    return bool(select.select([connection.end_fd], [], [], ENDS_SECONDS)[0])


def lose(tmp_path: Path, answer: Answer) -> str | None:
    """Why it was lost, at its first call."""
    with closing(Zygote(tmp_path / "lock", says(answer))) as zygote:
        connection = start(zygote)
        with pytest.raises(EngineLost):
            connection.call(replies.snapshot, "snapshot")
        assert has_ended(connection)
        with pytest.raises(EngineLost):
            connection.call(replies.snapshot, "snapshot")
        why = connection.why
        connection.close()
        return why


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"not JSON",
        lambda _: b"\xff\xfe",
        lambda _: b"[]",
        lambda _: b"{}",
        lambda _: b"[" * 60_000,
        lambda number: json.dumps({"n": number + 1, "is": None}).encode(),
        lambda number: json.dumps({"n": number}).encode(),
        result(None),
        result([]),
        snapshot(pauses="many"),
        snapshot(pauses=2**70),
        snapshot(clients=[1]),
        snapshot(clients={"1": [99, ""]}),
        snapshot([]),
        snapshot([99, *STREAM[1:]]),
        snapshot([*STREAM[:4], "00" * 63, *STREAM[5:]]),
        snapshot([*STREAM[:4], "zz" * 64, *STREAM[5:]]),
        snapshot([*STREAM[:4], "00" * 63 + "  ", *STREAM[5:]]),
        snapshot([0, 7, *STREAM[2:]]),
        snapshot([0, None, "7", *STREAM[3:]]),
        snapshot([*STREAM[:3], [1], *STREAM[4:]]),
        snapshot([*STREAM[:3], [1, 2], *STREAM[4:]]),
        snapshot([*STREAM[:5], "word", True]),
        snapshot([*STREAM[:6], None]),
    ],
)
def test_process_that_says_nonsense_is_ended(tmp_path: Path, answer: Answer) -> None:
    assert lose(tmp_path, answer) == NO_ENGINE


def test_process_that_ends_is_noticed(tmp_path: Path) -> None:
    assert lose(tmp_path, lambda _: os._exit(0)) == "it has ended"


def test_process_that_does_not_answer_is_waited_for_once_and_ended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    with closing(Zygote(tmp_path / "lock", says(lambda _: b""))) as zygote:
        connection = EngineCalls(zygote, zygote.start().wait(), patience_seconds=0.001)
        connection.on_late = lambda: asked.append("late")
        for _ in range(3):
            with pytest.raises(EngineLate):
                connection.call(replies.nothing, "start")
        assert asked == ["late"]
        connection.end_late()
        assert not connection.is_lost
        monkeypatch.setattr("agent_dom0.engines.calls.REPLY_SECONDS_MAX", 0.0)
        connection.end_late()
        assert (connection.why, connection.is_at_fault) == ("it does not respond", True)
        assert has_ended(connection)
        connection.close()


@contextmanager
def late(tmp_path: Path) -> Iterator[tuple[EngineCalls, Callable[[], None]]]:
    """A connection to a process that answers its first call once the function is called."""
    go_on = tmp_path / "go on"

    def answer(number: int) -> bytes:
        while not go_on.exists():
            time.sleep(0.001)
        return snapshot()(number)

    def answered() -> None:
        go_on.touch()
        assert select.select([connection], [], [], ENDS_SECONDS)[0]
        connection.follow()

    with closing(Zygote(tmp_path / "lock", says(answer))) as zygote:
        connection = EngineCalls(zygote, zygote.start().wait(), patience_seconds=0.001)
        yield connection, answered
        connection.close()


def test_process_that_is_late_with_what_it_says_of_itself_goes_on(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, answered):
        with pytest.raises(EngineLate):
            connection.look(replies.snapshot, "snapshot")
        assert connection.is_late
        answered()
        assert not connection.is_late
        assert not connection.is_lost


def test_process_that_is_late_with_what_it_was_to_do_is_replaced(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, answered):
        with pytest.raises(EngineLate):
            connection.call(replies.nothing, "start")
        answered()
        assert (connection.why, connection.is_at_fault) == ("it was late", False)


def test_call_that_a_late_process_did_not_get_makes_it_replaced(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, answered):
        with pytest.raises(EngineLate):
            connection.look(replies.snapshot, "snapshot")
        with pytest.raises(EngineLate):
            connection.call(replies.nothing, "detach_audio")
        answered()
        assert connection.why == "it was late"


def test_who_is_in_haste_learns_nothing_and_the_process_is_not_late(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, answered):
        connection.wait_for_at_most(ENDS_SECONDS)
        for _ in range(3):
            with pytest.raises(EngineLate):
                connection.look(replies.snapshot, "snapshot", time.monotonic())
        assert not connection.is_late
        answered()  # once: it was asked once
        until = time.monotonic() + ENDS_SECONDS
        assert connection.look(replies.snapshot, "snapshot", until) == replies.Snapshot(
            streams={"1": replies.StreamSeen(Violation.NONE)}
        )
        assert not connection.is_lost


def test_call_waits_for_a_process_that_somebody_in_haste_has_not_waited_for(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, _):
        connection.wait_for_at_most(ENDS_SECONDS)
        with pytest.raises(EngineLate):
            connection.look(replies.snapshot, "snapshot", time.monotonic())
        threading.Timer(0.05, (tmp_path / "go on").touch).start()
        assert connection.call(replies.snapshot, "snapshot").pauses == 0
        assert not connection.is_lost


def test_process_that_does_not_answer_who_is_in_haste_is_ended_by_a_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with late(tmp_path) as (connection, _):
        with pytest.raises(EngineLate):
            connection.look(replies.snapshot, "snapshot", time.monotonic())
        connection.probe()
        assert not connection.is_lost
        monkeypatch.setattr("agent_dom0.engines.calls.PROBED_SECONDS_MAX", 0.0)
        connection.probe()
        assert connection.why == "it does not respond"


def test_late_process_may_answer_a_probe_first(tmp_path: Path) -> None:
    with late(tmp_path) as (connection, answered):
        connection.probe()
        with pytest.raises(EngineLate):
            connection.look(replies.snapshot, "snapshot")
        answered()
        assert select.select([connection], [], [], ENDS_SECONDS)[0]
        connection.follow()
        assert not connection.is_late
        assert not connection.is_lost


def test_process_that_answers_as_it_should_is_kept(tmp_path: Path) -> None:
    request = bytes(range(64))
    answer = snapshot([1, "no", 7, [3, "microphone"], request.hex(), 5, False])
    with closing(Zygote(tmp_path / "lock", says(answer))) as zygote:
        connection = start(zygote)
        seen = connection.call(replies.snapshot, "snapshot")
        assert seen.streams["1"] == replies.StreamSeen(
            Violation.RING_INDEX, "no", 7, (3, "microphone"), request, 5, is_open=False
        )
        assert not connection.is_lost
        connection.close()


def test_what_it_says_of_an_error_is_cut_and_escaped(tmp_path: Path) -> None:
    def answer(number: int) -> bytes:
        failed = {"n": number, "failed": "failed", "text": "\x1b[2J" * 1000, "errno": "x"}
        return json.dumps(failed).encode()

    with closing(Zygote(tmp_path / "lock", says(answer))) as zygote:
        connection = start(zygote)
        with pytest.raises(OSError, match=r"\\x1b\[2J") as raised:
            connection.call(replies.nothing, "start")
        assert len(str(raised.value)) < 1000
        assert not connection.is_lost
        connection.close()


def test_process_that_answers_what_was_not_asked_is_ended(tmp_path: Path) -> None:
    def work(control: socket.socket) -> None:
        socket.send_fds(control, [b"{}"], [os.eventfd(0)])
        control.send(b'{"n": 1, "is": null}')
        control.recv(1)

    with closing(Zygote(tmp_path / "lock", work)) as zygote:
        connection = start(zygote)
        assert select.select([connection], [], [], ENDS_SECONDS)[0]
        connection.follow()
        assert connection.why == NO_ENGINE
        connection.close()


def test_probe_that_is_not_answered_in_time_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Zygote(tmp_path / "lock", says(lambda _: b""))) as zygote:
        connection = start(zygote)
        connection.probe()
        connection.probe()
        assert not connection.is_lost
        monkeypatch.setattr("agent_dom0.engines.calls.PROBED_SECONDS_MAX", 0.0)
        connection.probe()
        assert connection.why == "it does not respond"
        connection.close()


def test_answer_to_a_probe_may_come_before_that_to_a_call(tmp_path: Path) -> None:
    with closing(Zygote(tmp_path / "lock", says(snapshot()))) as zygote:
        connection = start(zygote)
        for _ in range(3):
            connection.probe()
            assert connection.call(replies.snapshot, "snapshot").pauses == 0
            connection.follow()  # as one does who was told that something has come
        assert not connection.is_lost
        connection.close()


def test_engine_that_was_prepared_and_never_used_is_ended(tmp_path: Path) -> None:
    with closing(engines(tmp_path)) as zygote:
        engine = EngineApart(cast(Transport, None), zygote, lambda _: None)
        engine.prepare()
        engine.prepare()
        assert engine._starting is not None
        assert engine._starting.follow() is None  # it has said who it is
        end = os.dup(engine._starting._pidfd)
        engine.close()
        assert select.select([end], [], [], ENDS_SECONDS)[0]
        os.close(end)


def engines(tmp_path: Path) -> Zygote:
    receiver = open_receiver(f"local:{tmp_path}")
    return Zygote(tmp_path / "lock", lambda control: EngineProcess(control, receiver).run())


def test_engines_end_with_what_started_them(tmp_path: Path) -> None:
    zygote = engines(tmp_path)
    connection = start(zygote)
    zygote.close()
    assert has_ended(connection)
    connection.close()


def test_engines_of_the_next_agent_start_when_the_last_ones_have_ended(tmp_path: Path) -> None:
    first = engines(tmp_path)
    connection = start(first)
    second, started = engines(tmp_path), threading.Event()

    def begin() -> None:
        start(second).close()
        started.set()

    waiting = threading.Thread(target=begin)
    waiting.start()
    assert not started.wait(0.2)
    first.close()
    assert started.wait(ENDS_SECONDS)
    waiting.join()
    connection.close()
    second.close()
