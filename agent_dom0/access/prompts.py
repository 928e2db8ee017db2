"""Asking the person: which questions are open, who is shown them, and how often a guest may ask.

A stream that must be asked for runs on its clock meanwhile, so nothing waits for the answer. No
answer within the time means no. A guest that is refused is not asked for again for a while, longer
each time, and for none more often than a few times a minute: it cannot wear the person down. Who
could not be asked for is told when that may be tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from policy.model import Direction
from xensnd.backoff import BackOff
from xensnd.control.answers import Answer
from xensnd.errors import UsageError

ANSWER_SECONDS = 30.0
OPEN_MAX = 8
ASKED_MAX = 6  # within this time, of one guest and direction
ASKED_SECONDS = 60.0
QUIET_FIRST_SECONDS = 10.0
QUIET_LAST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question. `seconds` is how long an answer is waited for yet."""

    number: int
    guest: str
    domid: int
    direction: Direction
    seconds: float

    def described(self) -> dict[str, str | int | float]:
        return {
            "id": self.number,
            "guest": self.guest,
            "domid": self.domid,
            "direction": self.direction.value,
            "seconds": self.seconds,
        }


@dataclass(slots=True)
class _Open:
    prompt: Prompt
    decided: Callable[[Answer, float], None]
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _Quiet:
    until: float
    seconds: float
    since: str  # what happened
    back_off: BackOff


_Key = tuple[str, Direction]


class Prompts:
    """`shown` and `gone` tell whoever shows questions to people; `gone` with why, and by whom.

    `look_again` is called when a question that had to wait for a time to pass may be asked.
    """

    def __init__(
        self,
        shown: Callable[[Prompt], None],
        gone: Callable[[Prompt, str, str], None],
        look_again: Callable[[], None],
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._shown = shown
        self._gone = gone
        self._look_again = look_again
        self._seconds = seconds
        self._numbers = count(1)
        self._open: dict[int, _Open] = {}
        self._quiet: dict[_Key, _Quiet] = {}
        self._times: dict[_Key, deque[float]] = {}  # of the last questions
        self._waiting: dict[_Key, asyncio.TimerHandle] = {}  # until they may be asked for

    @property
    def open(self) -> list[Prompt]:
        now = asyncio.get_running_loop().time()
        return [
            replace(each.prompt, seconds=round(max(each.timer.when() - now, 0.0), 1))
            for each in self._open.values()
        ]

    def why_not(self, guest: str, direction: Direction) -> str | None:
        """Why this cannot be asked now; None: it can."""
        if (quiet := self._quiet_until((guest, direction))) is not None:
            return quiet[1]
        if any((p.guest, p.direction) == (guest, direction) for p in self.open):
            return "it is being asked already"
        if len(self._open) >= OPEN_MAX:
            return f"{OPEN_MAX} questions are open already"
        return None

    def _quiet_until(self, key: _Key) -> tuple[float, str] | None:
        """Until when it is not asked for, and why; None: it may be."""
        now = asyncio.get_running_loop().time()
        quiet = self._quiet.get(key)
        if quiet is not None and now < quiet.until:
            return quiet.until, f"{quiet.since} less than {quiet.seconds:g} s ago"
        times = self._times.get(key)
        if times is not None and len(times) == ASKED_MAX and now < times[0] + ASKED_SECONDS:
            return (
                times[0] + ASKED_SECONDS,
                f"it was asked {ASKED_MAX} times within {ASKED_SECONDS:g} s",
            )
        return None

    def ask(
        self,
        guest: str,
        domid: int,
        direction: Direction,
        decided: Callable[[Answer, float], None],
    ) -> str | None:
        """Asks, or says why not. `decided` is called once, with the seconds of Answer.FOR, unless
        the question is withdrawn."""
        why_not = self.why_not(guest, direction)
        if why_not is not None:
            self._wait((guest, direction))
            return why_not
        loop = asyncio.get_running_loop()
        self._times.setdefault((guest, direction), deque(maxlen=ASKED_MAX)).append(loop.time())
        prompt = Prompt(next(self._numbers), guest, domid, direction, self._seconds)
        timer = loop.call_later(self._seconds, self._end, prompt.number, Answer.NONE, 0, "")
        self._open[prompt.number] = _Open(prompt, decided, timer)
        self._shown(prompt)
        return None

    def answer(self, number: int, answer: Answer, seconds: float = 0, by: str = "") -> Prompt:
        """What the person said. UsageError: there is no such question, or not any more."""
        if number not in self._open:
            raise UsageError(f"question {number} is not open: answered already, or too late")
        prompt = self._open[number].prompt
        self._end(number, answer, seconds, by)
        return prompt

    def withdraw(self, guest: str, direction: Direction) -> None:
        """The stream that asked has gone, or policy has decided meanwhile."""
        for number, each in list(self._open.items()):
            if (each.prompt.guest, each.prompt.direction) == (guest, direction):
                each.timer.cancel()
                del self._open[number]
                self._gone(each.prompt, "withdrawn", "")

    def close(self) -> None:
        """The agent ends: nobody waits for answers any more."""
        for each in self._open.values():
            each.timer.cancel()
        for timer in self._waiting.values():
            timer.cancel()
        self._open.clear()

    def _wait(self, key: _Key) -> None:
        """The end of an open question is told anyway; the end of a time, only here."""
        quiet = self._quiet_until(key)
        if quiet is not None and key not in self._waiting:
            loop = asyncio.get_running_loop()
            self._waiting[key] = loop.call_at(quiet[0] + 0.001, self._may_ask, key)

    def _may_ask(self, key: _Key) -> None:
        del self._waiting[key]
        self._look_again()

    def _end(self, number: int, answer: Answer, seconds: float, by: str) -> None:
        ended = self._open.pop(number)
        ended.timer.cancel()
        self._remember(ended.prompt, answer)
        self._gone(ended.prompt, answer.value, by)
        ended.decided(answer, seconds)

    def _remember(self, prompt: Prompt, answer: Answer) -> None:
        key = (prompt.guest, prompt.direction)
        if answer not in (Answer.NO, Answer.NONE):
            self._quiet.pop(key, None)
            return
        before = self._quiet.get(key)
        back_off = before.back_off if before else BackOff(QUIET_FIRST_SECONDS, QUIET_LAST_SECONDS)
        seconds = back_off.next_seconds()
        until = asyncio.get_running_loop().time() + seconds
        since = "the person said no" if answer is Answer.NO else "nobody answered"
        self._quiet[key] = _Quiet(until, seconds, since, back_off)
