"""xensnd-policy on a terminal: status --watch, and answering."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_agent import FakeAgent, guest, status, stream
from tests.support.terminal import OnTerminal

ENTER, LEAVE = "\033[?1049h", "\033[?25h\033[?1049l"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path / "control") as agent:
        agent.status = status(guest("work", stream(), records=True))
        yield agent


def tool(
    agent: FakeAgent, *arguments: str, columns: int = 80, lines: int = 24, **environment: str
) -> OnTerminal:
    command = [sys.executable, "-m", "policy.cli.main", "--control", str(agent.path), *arguments]
    return OnTerminal(command, columns, lines, **environment)


def test_status_on_a_terminal_is_a_table_that_fits(agent: FakeAgent) -> None:
    with tool(agent, "status", columns=45) as shown:
        assert shown.ended() == 0
    plain = re.sub(r"\033\[\d+m", "", shown.text)
    assert "GUEST      " in plain
    assert "\033[31m● REC\033[0m" in shown.text
    assert all(len(line) <= 45 for line in plain.splitlines())


def test_no_color_is_honoured(agent: FakeAgent) -> None:
    with tool(agent, "status", NO_COLOR="1") as shown:
        assert shown.ended() == 0
    assert "● REC" in shown.text
    assert "\033" not in shown.text


def test_watch_follows_and_restores_the_terminal(agent: FakeAgent) -> None:
    with tool(agent, "status", "--watch") as shown:
        shown.await_text(ENTER)
        shown.await_text("● recording now: work")
        agent.status = status(guest("web"))
        shown.await_text("web")
        shown.await_text("nobody records")
        assert shown.interrupt() == 0
        assert shown.text.endswith(LEAVE)


def test_watch_that_is_terminated_restores_the_terminal(agent: FakeAgent) -> None:
    with tool(agent, "status", "--watch") as shown:
        shown.await_text("recording now")
        assert shown.terminate() == 143
        assert shown.text.endswith(LEAVE)


def test_watch_shows_no_recording_without_an_agent(agent: FakeAgent) -> None:
    with tool(agent, "status", "--watch") as shown:
        shown.await_text("recording now")
        agent.stop()
        shown.await_text("\033[H" + str(agent.path)[:20])
        shown.await_text("waiting for the agent")
        assert "recording" not in shown.text
        agent.start()
        shown.await_text("recording now")
        assert shown.interrupt() == 0


def test_watch_follows_the_size_of_the_terminal(agent: FakeAgent) -> None:
    agent.status = status(*(guest(f"guest-{number}") for number in range(50)))
    with tool(agent, "status", "--watch", lines=20) as shown:
        shown.await_text("(36 more lines)")
        shown.resize(40, 10)
        shown.await_text("(46 more lines)")
        shown.await_text("nobody records")
        assert shown.interrupt() == 0


def test_watch_without_an_agent_ends_at_once(agent: FakeAgent) -> None:
    agent.stop()
    with tool(agent, "status", "--watch") as shown:
        assert shown.ended() == 3
        assert ENTER not in shown.text
    agent.start()


# Answering


def test_question_is_asked_and_answered(agent: FakeAgent) -> None:
    with tool(agent, "prompt") as shown:
        shown.await_text("no guest asks; waiting")
        agent.await_watchers()
        agent.ask(3, "work")
        shown.await_text("prompt 3: work wants to record, 30 s to answer")
        shown.await_text("never: ")
        shown.type("perhaps\n")
        shown.await_text("answer 'perhaps' is not one of once")
        shown.await_text("never: ")
        shown.type("for 10m\n")
        shown.await_text("prompt 3: for 600.0 s")
        assert agent.await_request("answer")["seconds"] == 600
        assert shown.interrupt() == 0


def test_open_questions_are_asked_one_by_one(agent: FakeAgent) -> None:
    agent.ask(3, "work")
    agent.ask(4, "web", "playback")
    with tool(agent, "prompt") as shown:
        shown.await_text("prompt 3: work wants to record")
        shown.await_text("never: ")
        assert "web" not in shown.text
        shown.type("no\n")
        shown.await_text("prompt 4: web wants to play")
        shown.await_text("never: ")
        shown.type("once\n")
        assert agent.await_request("answer", 2)["answer"] == "once"
        shown.await_text("prompt 4: once")
        shown.type("\x04")
        assert shown.ended() == 0


def test_what_was_typed_for_one_question_does_not_answer_the_next(agent: FakeAgent) -> None:
    agent.ask(3, "work")
    with tool(agent, "prompt") as shown:
        shown.await_text("never: ")
        shown.type("alw")
        agent.await_watchers()
        agent.tell("prompt-gone", id=3, why="no answer")
        shown.await_text("prompt 3: gone (no answer)")
        agent.ask(4, "web")
        shown.await_text("never: ")
        shown.type("no\n")
        shown.await_text("prompt 4: no")
        assert agent.await_request("answer")["answer"] == "no"
        assert shown.interrupt() == 0


def test_answer_that_is_too_late_is_reported(agent: FakeAgent) -> None:
    agent.ask(3, "work")
    agent.refusals["answer"] = "question 3 is not open: answered already, or too late"
    with tool(agent, "prompt") as shown:
        shown.await_text("never: ")
        shown.type("once\n")
        shown.await_text("question 3 is not open")
        assert shown.interrupt() == 0


def test_prompt_ends_with_its_agent(agent: FakeAgent) -> None:
    with tool(agent, "prompt") as shown:
        shown.await_text("waiting")
        agent.await_watchers()
        agent.hang_up()
        assert shown.ended() == 3
        assert "the agent does not answer (it has left)" in shown.text
