"""Questions to the person: how they end, and how often a guest may raise them."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from agent_dom0.access.pauses import ASKED_MAX, FORGET_SECONDS, WITHDRAWN_FREE
from agent_dom0.access.prompts import OPEN_MAX, TURN_SECONDS, NotAsked, Prompt, Prompts
from agent_dom0.access.reconsider import Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import EventKind
from policy.model import Direction
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_policy_state import Queue, Trail
from xensnd.control.answers import Answer
from xensnd.errors import UsageError

CAPTURE = Direction.CAPTURE


class Desk:
    """What people see, and what the streams that asked are told."""

    def __init__(self) -> None:
        self.shown: list[Prompt] = []
        self.gone: list[tuple[int, str]] = []
        self.answered: list[Answer] = []
        self.written: list[tuple[Prompt, Answer, float]] = []
        self.trail = Trail()
        self.queue = Queue()
        self.prompts = Prompts(
            AuditTrail(self.trail), self, self.queue, lambda *said: self.written.append(said)
        )

    def ask(
        self, guest: str = "work", direction: Direction = CAPTURE, *, percent: int = 100
    ) -> int:
        answered = self.answered.append
        return self.prompts.ask(guest, 7, direction, answered, percent=percent)

    def why_not(self, guest: str = "work", *, percent: int = 100) -> str:
        with pytest.raises(NotAsked) as refused:
            self.ask(guest, percent=percent)
        return str(refused.value)

    def prompt_shown(self, prompt: Prompt) -> None:
        self.shown.append(prompt)

    def prompt_gone(self, prompt: Prompt, why: str) -> None:
        self.gone.append((prompt.number, why))


def test_answer_reaches_whoever_asked_and_the_question_is_gone() -> None:
    async def test() -> None:
        desk = Desk()
        number = desk.ask()
        (prompt,) = desk.shown
        desk.prompts.answer(number, "work", CAPTURE, Answer.ONCE, 0, "uid 0")
        assert desk.answered == [Answer.ONCE]
        assert desk.gone == [(prompt.number, "once")]
        assert desk.queue.reasons == [Reason.ANSWER]
        assert desk.trail.kinds() == [EventKind.PROMPT_SHOWN, EventKind.PROMPT_ANSWERED]
        assert desk.trail.events[1].fields["XENSND_BY"] == "uid 0"
        assert desk.written == []
        assert desk.prompts.open == []

    run(test())


def test_answer_that_lasts_is_written_down() -> None:
    async def test() -> None:
        desk = Desk()
        desk.prompts.answer(desk.ask(), "work", CAPTURE, Answer.FOR, 60)
        assert desk.answered == [Answer.FOR]
        assert desk.written == [(desk.shown[0], Answer.FOR, 60)]

    run(test())


def test_number_of_a_question_does_not_come_again_in_the_next_agent() -> None:
    async def test() -> None:
        first = Desk()
        numbers = [first.ask("trusted"), first.ask("untrusted")]
        time.sleep(0.002)  # no agent follows another in less
        second = Desk()
        again = [second.ask("untrusted"), second.ask("trusted")]
        assert len({*numbers, *again}) == 4

    run(test())


@pytest.mark.parametrize(
    ("guest", "direction"), [("untrusted", CAPTURE), ("work", Direction.PLAYBACK)]
)
def test_answer_to_something_else_than_was_asked_is_refused(
    guest: str, direction: Direction
) -> None:
    async def test() -> None:
        desk = Desk()
        number = desk.ask()
        expected = f"question {number} asks whether work may record, not whether {guest} may"
        with pytest.raises(UsageError, match=expected):
            desk.prompts.answer(number, guest, direction, Answer.ONCE)
        assert desk.answered == []
        assert [prompt.number for prompt in desk.prompts.open] == [number]

    run(test())


def test_no_answer_within_the_time_is_no_and_later_ones_are_too_late() -> None:
    async def test() -> None:
        desk = Desk()
        number = desk.ask()
        await later(29)
        assert desk.answered == []
        await later(2)
        assert desk.answered == [Answer.NONE]
        assert desk.gone == [(number, "no answer")]
        expected = f"question {number} is not open: answered already, or too"
        with pytest.raises(UsageError, match=expected):
            desk.prompts.answer(number, "work", CAPTURE, Answer.ONCE)

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
        number = desk.ask()
        desk.prompts.withdraw(number)
        await later(60)
        assert desk.answered == []
        assert desk.gone == [(number, "withdrawn")]

    run(test())


def test_refused_guest_is_quiet_for_twice_as_long_each_time() -> None:
    async def test() -> None:
        desk = Desk()
        for quiet_seconds in (10, 20, 40):
            desk.prompts.answer(desk.ask(), "work", CAPTURE, Answer.NO)
            await later(quiet_seconds - 1)
            assert desk.why_not() == f"the person said no less than {quiet_seconds} s ago"
            await later(2)

    run(test())


@pytest.mark.parametrize("seconds_of_an_answer", [0, 31])
def test_who_had_to_wait_is_told_once_when_it_may_be_asked_for(seconds_of_an_answer: float) -> None:
    async def test() -> None:
        desk = Desk()
        number = desk.ask()
        if seconds_of_an_answer:
            await later(seconds_of_an_answer)
        else:
            desk.prompts.answer(number, "work", CAPTURE, Answer.NO)
        since = "nobody answered" if seconds_of_an_answer else "the person said no"
        for _ in range(3):
            assert desk.why_not() == f"{since} less than 10 s ago"
        await later(9)
        assert Reason.PROMPT not in desk.queue.reasons
        await later(2)
        assert desk.queue.reasons.count(Reason.PROMPT) == 1
        desk.ask()
        await later(60)
        assert desk.queue.reasons.count(Reason.PROMPT) == 1

    run(test())


def test_agent_that_ends_is_told_nothing_more() -> None:
    async def test() -> None:
        desk = Desk()
        desk.prompts.answer(desk.ask(), "work", CAPTURE, Answer.NO)
        desk.why_not()
        desk.ask("other")
        desk.prompts.close()
        await later(60)
        assert Reason.PROMPT not in desk.queue.reasons
        assert desk.answered == [Answer.NO]

    run(test())


def test_allowed_guest_is_not_quiet() -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(3):
            desk.prompts.answer(desk.ask(), "work", CAPTURE, Answer.ONCE)

    run(test())


def test_guest_that_asks_and_leaves_is_shown_a_few_times_a_minute() -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(ASKED_MAX):
            desk.prompts.withdraw(desk.ask())
        assert desk.why_not() == "the question was asked 6 times within 60 s"
        desk.ask("other")
        await later(61)
        desk.ask()

    run(test())


@pytest.mark.parametrize(("percent", "times"), [(50, 3), (200, 12)])
def test_rule_lowers_and_raises_how_often_a_guest_asks(percent: int, times: int) -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(times):
            desk.prompts.withdraw(desk.ask(percent=percent))
        said = f"the question was asked {times} times within 60 s"
        assert desk.why_not(percent=percent) == said
        await later(61)
        desk.prompts.answer(desk.ask(percent=percent), "work", CAPTURE, Answer.NO)
        seconds = 1000 // percent
        assert desk.why_not(percent=percent) == f"the person said no less than {seconds} s ago"
        await later(seconds)
        desk.ask(percent=percent)

    run(test())


def test_one_question_of_a_guest_and_direction_at_a_time() -> None:
    async def test() -> None:
        desk = Desk()
        desk.ask()
        assert desk.why_not() == "this question is open already"
        desk.ask(direction=Direction.PLAYBACK)

    run(test())


def test_questions_that_are_open_are_few() -> None:
    async def test() -> None:
        desk = Desk()
        for number in range(OPEN_MAX):
            desk.ask(f"guest{number}")
        assert desk.why_not("one-more") == "8 questions are open already"

    run(test())


def test_guest_that_withdraws_question_after_question_pauses_longer_each_time() -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(WITHDRAWN_FREE):  # as a program that tries the microphone does
            desk.prompts.withdraw(desk.ask())
            await later(60)
        for seconds in (10, 20, 40, 80, 160, 320, 600, 600):
            desk.prompts.withdraw(desk.ask())
            await later(seconds - 1)
            assert (
                desk.why_not() == f"the question was withdrawn once more less than {seconds} s ago"
            )
            await later(2)

    run(test())


@pytest.mark.parametrize("seconds_without", [0, FORGET_SECONDS])
def test_yes_or_a_long_time_gives_a_guest_its_free_questions_back(seconds_without: float) -> None:
    async def test() -> None:
        desk = Desk()
        for _ in range(WITHDRAWN_FREE):
            desk.prompts.withdraw(desk.ask())
            await later(60)
        if seconds_without:
            await later(seconds_without)
        else:
            desk.prompts.answer(desk.ask(), "work", CAPTURE, Answer.ONCE)
        for _ in range(WITHDRAWN_FREE):
            desk.prompts.withdraw(desk.ask())
            await later(60)

    run(test())


def test_another_stream_with_the_same_question_is_decided_again_when_that_ends() -> None:
    async def test() -> None:
        desk = Desk()
        number = desk.ask()
        assert desk.why_not() == "this question is open already"
        desk.prompts.withdraw(number)
        assert desk.queue.reasons == [Reason.PROMPT]

    run(test())


def fill(desk: Desk) -> list[int]:
    return [desk.ask(f"guest{number}") for number in range(OPEN_MAX)]


def test_place_goes_to_whoever_waits_longest_and_not_to_who_asks_again() -> None:
    async def test() -> None:
        desk = Desk()
        numbers = fill(desk)
        desk.why_not("first")
        desk.why_not("second")
        desk.prompts.withdraw(numbers[0])
        assert desk.queue.reasons == [Reason.PROMPT]
        for guest in ("guest0", "second"):
            assert desk.why_not(guest) == "others are asked for first"
        desk.ask("first")
        desk.prompts.withdraw(numbers[1])
        assert desk.why_not("guest0") == "others are asked for first"
        desk.ask("second")
        desk.prompts.withdraw(numbers[2])
        desk.ask("guest0")

    run(test())


def test_who_waits_and_has_no_stream_any_more_holds_up_the_others_for_one_turn() -> None:
    async def test() -> None:
        desk = Desk()
        numbers = fill(desk)
        desk.why_not("gone")
        desk.why_not("waiting")
        desk.prompts.withdraw(numbers[0])
        assert desk.why_not("waiting") == "others are asked for first"
        desk.queue.reasons.clear()
        await later(TURN_SECONDS)
        assert desk.queue.reasons == [Reason.PROMPT]
        desk.ask("waiting")
        desk.prompts.withdraw(numbers[1])
        desk.ask("anybody")

    run(test())


def test_each_that_waits_is_asked_about_while_one_guest_asks_without_end() -> None:
    async def test() -> None:
        desk = Desk()
        numbers = fill(desk)
        waiting = [f"waiting{number}" for number in range(20)]
        for guest in waiting:
            desk.why_not(guest)
        asked: list[str] = []
        for guest in waiting:
            desk.prompts.withdraw(numbers.pop(0))
            for eager in ("guest0", *reversed(waiting)):
                with suppress(NotAsked):
                    numbers.append(desk.ask(eager))
                    asked.append(eager)
            assert asked[-1] == guest
        assert asked == waiting

    run(test())
