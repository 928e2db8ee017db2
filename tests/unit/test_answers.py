"""What people may answer is the same wherever they are asked."""

from __future__ import annotations

from agent_session.wording import ANSWERS
from policy.cli.prompt import HINT, read_answer
from xensnd.control.answers import DEFAULT_MINUTES, GIVEN, Answer


def test_desktop_offers_every_answer_that_the_agent_takes() -> None:
    assert {key for key, _label in ANSWERS} == set(GIVEN)


def test_terminal_takes_every_answer_that_the_agent_takes() -> None:
    assert {read_answer([answer])["answer"] for answer in GIVEN} == set(GIVEN)
    assert HINT == "once, for 30m (or another time), always, no, never"


def test_a_time_that_is_not_named_is_the_same_on_desktop_and_terminal() -> None:
    assert read_answer(["for"])["seconds"] == DEFAULT_MINUTES * 60
    assert dict(ANSWERS)[Answer.FOR] == f"Allow for {DEFAULT_MINUTES} minutes"
