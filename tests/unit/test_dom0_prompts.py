"""Questions to the person: how they end, and how often a guest may raise them."""

from __future__ import annotations

import pytest

from agent_dom0.access.prompts import ASKED_MAX, OPEN_MAX, Prompt, Prompts
from policy.model import Direction
from tests.unit.fake_clock import later, run
from xensnd.control.answers import Answer
from xensnd.errors import UsageError

CAPTURE = Direction.CAPTURE


class Desk:
    """What people see, and what the streams that asked are told."""

    def __init__(self) -> None:
        self.shown: list[Prompt] = []
        self.gone: list[tuple[int, str, str]] = []
        self.decided: list[tuple[Answer, float]] = []
        self.looked_again = 0
        self.prompts = Prompts(self.shown.append, self._went, self._look_again)

    def ask(self, guest: str = "work", direction: Direction = CAPTURE) -> str | None:
        return self.prompts.ask(guest, 7, direction, lambda *said: self.decided.append(said))

    def _look_again(self) -> None:
        self.looked_again += 1

    def _went(self, prompt: Prompt, why: str, by: str) -> None:
        self.gone.append((prompt.number, why, by))


def test_answer_reaches_whoever_asked_and_the_question_is_gone() -> None:
    async def test() -> None:
        desk = Desk()
        assert desk.ask() is None
        (prompt,) = desk.shown
        desk.prompts.answer(prompt.number, Answer.FOR, 60, "uid 0")
        assert desk.decided == [(Answer.FOR, 60)]
        assert desk.gone == [(prompt.number, "for", "uid 0")]
        assert desk.prompts.open == []

    run(test())


def test_no_answer_within_the_time_is_no_and_later_ones_are_too_late() -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        await later(29)
        assert desk.decided == []
        await later(2)
        assert desk.decided == [(Answer.NONE, 0)]
        assert desk.gone == [(1, "no answer", "")]
        with pytest.raises(UsageError, match="question 1 is not open: answered already, or too"):
            desk.prompts.answer(1, Answer.ONCE)

    run(test())


def test_open_question_tells_how_long_is_left() -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        await later(12)
        (prompt,) = desk.prompts.open
        assert 17 < prompt.seconds <= 18

    run(test())


def test_withdrawn_question_decides_nothing() -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        desk.prompts.withdraw("work", CAPTURE)
        await later(60)
        assert desk.decided == []
        assert desk.gone == [(1, "withdrawn", "")]

    run(test())


def test_refused_guest_is_quiet_for_twice_as_long_each_time() -> None:
    async def test() -> None:
        desk = Desk()
        for quiet_seconds in (10, 20, 40):
            assert desk.ask() is None
            desk.prompts.answer(desk.shown[-1].number, Answer.NO)
            await later(quiet_seconds - 1)
            assert desk.ask() == f"the person said no less than {quiet_seconds} s ago"
            await later(2)

    run(test())


@pytest.mark.parametrize("seconds_of_an_answer", [0, 31])
def test_who_had_to_wait_is_told_once_when_it_may_be_asked_for(seconds_of_an_answer: float) -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        if seconds_of_an_answer:
            await later(seconds_of_an_answer)
        else:
            desk.prompts.answer(1, Answer.NO)
        since = "nobody answered" if seconds_of_an_answer else "the person said no"
        for _ in range(3):
            assert desk.ask() == f"{since} less than 10 s ago"
        await later(9)
        assert desk.looked_again == 0
        await later(2)
        assert desk.looked_again == 1
        assert desk.ask() is None
        await later(60)
        assert desk.looked_again == 1

    run(test())


def test_agent_that_ends_is_told_nothing_more() -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        desk.prompts.answer(1, Answer.NO)
        desk.ask()
        desk.prompts.close()
        await later(60)
        assert desk.looked_again == 0

    run(test())


def test_allowed_guest_is_not_quiet() -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(3):
            assert desk.ask() is None
            desk.prompts.answer(desk.shown[-1].number, Answer.ONCE)

    run(test())


def test_guest_that_asks_and_leaves_is_shown_a_few_times_a_minute() -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(ASKED_MAX):
            assert desk.ask() is None
            desk.prompts.withdraw("work", CAPTURE)
        assert desk.ask() == "it was asked 6 times within 60 s"
        assert desk.ask("other") is None
        await later(61)
        assert desk.ask() is None

    run(test())


def test_one_question_of_a_guest_and_direction_at_a_time() -> None:
    async def test() -> None:
        desk = Desk()
        assert desk.ask() is None
        assert desk.ask() == "it is being asked already"
        assert desk.ask(direction=Direction.PLAYBACK) is None

    run(test())


def test_questions_that_are_open_are_few() -> None:
    async def test() -> None:
        desk = Desk()
        for number in range(OPEN_MAX):
            assert desk.ask(f"guest{number}") is None
        assert desk.ask("one-more") == "8 questions are open already"

    run(test())
