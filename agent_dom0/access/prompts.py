"""Questions to a person: which are open, who is shown them, and how often a guest may ask.

A stream about which a person is asked runs on its clock meanwhile, so nothing waits for the answer.
No answer in time means no. After a no, the same question is not asked for a while, which grows each
time. No guest causes more than a few questions in a minute, so none can wear the person down.
Streams whose question could not be asked are decided again when it may be.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import EventKind, Priority, guest_event
from policy.model import Direction
from xensnd.backoff import BackOff
from xensnd.control.answers import LASTING, Answer
from xensnd.errors import AccessDenied, UsageError

ANSWER_SECONDS = 30.0
OPEN_MAX = 8
ASKED_MAX = 6  # within this time, of one guest and direction
ASKED_SECONDS = 60.0
FIND_SOURCE_SECONDS = 0.2
QUIET_FIRST_SECONDS = 10.0
QUIET_LAST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question. `seconds` is the time that is left for an answer.

    No other question gets this `number` while the machine runs, whichever agent asks.
    """

    number: int
    guest: str
    domid: int
    direction: Direction
    seconds: float
    source: str | None = None  # that would be recorded; None: not known, or playback

    def described(self) -> dict[str, str | int | float | None]:
        return {
            "id": self.number,
            "guest": self.guest,
            "domid": self.domid,
            "direction": self.direction.value,
            "seconds": self.seconds,
            "source": self.source,
        }


@dataclass(slots=True)
class _Open:
    prompt: Prompt
    answered: Callable[[Answer], None]
    timer: asyncio.TimerHandle
    is_shown: bool = False


@dataclass(slots=True)
class _Quiet:
    until: float
    seconds: float
    since: str  # what happened
    back_off: BackOff


_Key = tuple[str, Direction]
_DOES = {Direction.PLAYBACK: "play", Direction.CAPTURE: "record"}


class NotAsked(AccessDenied):
    """Why a question is not asked now."""


class Viewers(Protocol):
    """Shows questions to people."""

    def prompt_shown(self, prompt: Prompt) -> None: ...
    def prompt_gone(self, prompt: Prompt, why: str) -> None: ...


class Prompts:
    """All open questions. `write` is called with each lasting answer and the seconds of Answer.FOR.
    `find_source` calls its argument with the name of the source that would be recorded."""

    def __init__(
        self,
        trail: AuditTrail,
        viewers: Viewers,
        queue: DecisionQueue,
        write: Callable[[Prompt, Answer, float], None],
        seconds: float = ANSWER_SECONDS,
        find_source: Callable[[Callable[[str | None], None]], None] | None = None,
    ) -> None:
        self._find_source = find_source
        self._trail = trail
        self._viewers = viewers
        self._queue = queue
        self._write = write
        self._seconds = seconds
        self._last_number = 0
        self._open: dict[int, _Open] = {}
        self._quiet: dict[_Key, _Quiet] = {}
        self._times: dict[_Key, deque[float]] = {}  # of the last questions
        self._waiting: dict[_Key, asyncio.TimerHandle] = {}  # until they may be asked for
        self._somebody_waits = False  # until an open question ends

    @property
    def open(self) -> list[Prompt]:
        now = asyncio.get_running_loop().time()
        return [
            replace(each.prompt, seconds=round(max(each.timer.when() - now, 0.0), 1))
            for each in self._open.values()
            if each.is_shown
        ]

    def why_not(self, guest: str, direction: Direction) -> str | None:
        """Return why this question cannot be asked now; None: it can."""
        if (quiet := self._quiet_until((guest, direction))) is not None:
            return quiet[1]
        asked = [each.prompt for each in self._open.values()]
        if any((p.guest, p.direction) == (guest, direction) for p in asked):
            return "this question is open already"
        if len(self._open) >= OPEN_MAX:
            return f"{OPEN_MAX} questions are open already"
        return None

    def _quiet_until(self, key: _Key) -> tuple[float, str] | None:
        """Return until when the question may not be asked, and why; None: it may be."""
        now = asyncio.get_running_loop().time()
        quiet = self._quiet.get(key)
        if quiet is not None and now < quiet.until:
            return quiet.until, f"{quiet.since} less than {quiet.seconds:g} s ago"
        times = self._times.get(key)
        if times is not None and len(times) == ASKED_MAX and now < times[0] + ASKED_SECONDS:
            return (
                times[0] + ASKED_SECONDS,
                f"the question was asked {ASKED_MAX} times within {ASKED_SECONDS:g} s",
            )
        return None

    def ask(
        self,
        guest: str,
        domid: int,
        direction: Direction,
        answered: Callable[[Answer], None],
        source: str | None = None,
    ) -> int:
        """Returns the question's number, or raises NotAsked. `source` is what would be recorded, if
        a rule says so. `answered` is called once, unless the
        question is withdrawn; then all streams are decided anew."""
        why_not = self.why_not(guest, direction)
        if why_not is not None:
            self._wait((guest, direction))
            raise NotAsked(why_not)
        loop = asyncio.get_running_loop()
        self._times.setdefault((guest, direction), deque(maxlen=ASKED_MAX)).append(loop.time())
        prompt = Prompt(self._next_number(), guest, domid, direction, self._seconds)
        timer = loop.call_later(self._seconds, self._end, prompt.number, Answer.NONE, 0, "")
        self._open[prompt.number] = _Open(prompt, answered, timer)
        if direction is Direction.CAPTURE and source is None and self._find_source is not None:
            self._find_source(partial(self._show, prompt.number))
            # If the server hangs, the question is shown without the name of the source.
            loop.call_later(FIND_SOURCE_SECONDS, self._show, prompt.number, None)
        else:
            self._show(prompt.number, source)
        return prompt.number

    def _show(self, number: int, source: str | None) -> None:
        """Show the question, unless it was shown or has ended."""
        asked = self._open.get(number)
        if asked is None or asked.is_shown:
            return
        asked.is_shown = True
        asked.prompt = replace(asked.prompt, source=source)
        fields = {} if source is None else {"XENSND_SOURCE": source}
        self._audit(EventKind.PROMPT_SHOWN, asked.prompt, "a person is asked", **fields)
        self._viewers.prompt_shown(asked.prompt)

    def _next_number(self) -> int:
        """Return a number that no earlier agent has used: its question may still be on a screen."""
        now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        self._last_number = max(self._last_number + 1, now_ms)
        return self._last_number

    def answer(
        self,
        number: int,
        guest: str,
        direction: Direction,
        answer: Answer,
        seconds: float = 0,
        by: str = "",
    ) -> None:
        """Apply the answer about this guest and direction. UsageError: no such question is open."""
        if number not in self._open:
            raise UsageError(f"question {number} is not open: answered already, or too late")
        prompt = self._open[number].prompt
        if (prompt.guest, prompt.direction) != (guest, direction):
            raise UsageError(
                f"question {number} asks whether {prompt.guest} may {_DOES[prompt.direction]}, "
                f"not whether {guest} may {_DOES[direction]}"
            )
        self._end(number, answer, seconds, by)

    def withdraw(self, number: int) -> None:
        """End the question: the stream has gone, or policy decides without a person."""
        if number in self._open:
            self._close(number, "withdrawn")

    def close(self) -> None:
        """End all questions, as the agent ends."""
        for each in self._open.values():
            each.timer.cancel()
        for timer in self._waiting.values():
            timer.cancel()
        self._open.clear()

    def _wait(self, key: _Key) -> None:
        """Decide all streams again when this question may be asked."""
        quiet = self._quiet_until(key)
        if quiet is None:
            self._somebody_waits = True
        elif key not in self._waiting:
            loop = asyncio.get_running_loop()
            self._waiting[key] = loop.call_at(quiet[0] + 0.001, self._may_ask, key)

    def _may_ask(self, key: _Key) -> None:
        del self._waiting[key]
        self._queue.reconsider(Reason.PROMPT)

    def _end(self, number: int, answer: Answer, seconds: float, by: str) -> None:
        ended = self._close(number, answer.value, by)
        self._remember(ended.prompt, answer)
        ended.answered(answer)
        self._queue.reconsider(Reason.ANSWER)
        if answer in LASTING:
            self._write(ended.prompt, answer, seconds)

    def _close(self, number: int, why: str, by: str = "") -> _Open:
        closed = self._open.pop(number)
        closed.timer.cancel()
        if closed.is_shown:
            fields = {"XENSND_ANSWER": why, **({"XENSND_BY": by} if by else {})}
            self._audit(
                EventKind.PROMPT_ANSWERED, closed.prompt, f"question ended: {why}", **fields
            )
            self._viewers.prompt_gone(closed.prompt, why)
        if self._somebody_waits:
            self._somebody_waits = False
            self._queue.reconsider(Reason.PROMPT)
        return closed

    def _audit(self, kind: EventKind, prompt: Prompt, what: str, **fields: str) -> None:
        text = f"{prompt.direction} {what}"
        event = guest_event(kind, prompt.guest, prompt.domid, text, Priority.NOTICE)
        event.fields.update(
            XENSND_DIRECTION=prompt.direction.value, XENSND_PROMPT=prompt.number, **fields
        )
        self._trail.append(event)

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
