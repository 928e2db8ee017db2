"""What a supervisor believes of what its agent says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from agent_dom0.supervisor.heartbeat import ALIVE, READY, Heartbeat, HeartbeatReader, Message


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_words_come_as_they_were_said(pipe: tuple[int, int]) -> None:
    agent, reader = Heartbeat(pipe[1]), HeartbeatReader(pipe[0])
    agent.ready()
    agent.alive("1 guest; work plays")
    assert list(reader.messages()) == [Message(READY, ""), Message(ALIVE, "1 guest; work plays")]


def test_word_that_comes_in_pieces_is_one(pipe: tuple[int, int]) -> None:
    reader = HeartbeatReader(pipe[0])
    os.write(pipe[1], b"alive 2 gu")
    assert list(reader.messages()) == []
    os.write(pipe[1], b"ests\n")
    assert list(reader.messages()) == [Message(ALIVE, "2 guests")]


@pytest.mark.parametrize(
    "line", [b"MAINPID=1", b"", b"\xff\xfe", b"alivelonger", b"X_RESTART=1", b"x" * 3000]
)
def test_what_is_no_word_is_passed_over(pipe: tuple[int, int], line: bytes) -> None:
    reader = HeartbeatReader(pipe[0])
    os.write(pipe[1], line + b"\nready\n")
    assert list(reader.messages()) == [Message(READY, "")]


def test_text_cannot_bring_a_line_of_its_own(pipe: tuple[int, int]) -> None:
    reader = HeartbeatReader(pipe[0])
    os.write(pipe[1], "alive a\rb\x1b[2Jc\u2028d\n".encode())
    assert list(reader.messages()) == [Message(ALIVE, "a\\rb\\x1b[2Jc\\u2028d")]


def test_text_without_end_is_cut(pipe: tuple[int, int]) -> None:
    reader = HeartbeatReader(pipe[0])
    os.write(pipe[1], b"alive " + b"x" * 1000 + b"\n")
    assert [len(word.text) for word in reader.messages()] == [200]


def test_agent_does_not_wait_for_a_supervisor_that_does_not_read(pipe: tuple[int, int]) -> None:
    agent = Heartbeat(pipe[1])
    for _ in range(10_000):
        agent.alive("x" * 100)
