"""Questions to a person: which are open, who is shown them, and how often a guest may ask.

A stream about which a person is asked runs on its clock meanwhile, so nothing waits for the answer.
No answer in time means no. A guest that asks again and again has to pause (see pauses.py), so none
can wear the person down. Streams whose question could not be asked are decided again when it can.

One question of a guest and direction is open at a time, and few in all. Who finds all places taken
is queued, and asked for before whoever comes later, so no guest keeps another out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Protocol

from agent_dom0.access.pauses import Pauses
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import EventKind, Priority, guest_event
from policy.model import Direction
from xensnd.control.answers import LASTING, Answer
from xensnd.core import USUAL_PERCENT
from xensnd.errors import AccessDenied, UsageError

ANSWER_SECONDS = 30.0
OPEN_MAX = 8
FIND_SOURCE_SECONDS = 0.2
TURN_SECONDS = 1.0  # for the first of the queue to ask, or its stream has gone


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

    @property
    def key(self) -> _Key:
        return self.prompt.guest, self.prompt.direction


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
        self._pauses = Pauses()
        self._paused: dict[_Key, asyncio.TimerHandle] = {}  # until they may be asked for
        self._repeated: set[_Key] = set()  # open, and another stream wants to ask the same
        self._queued: dict[_Key, None] = {}  # have found no place, in the order in which they came
        self._turn: asyncio.TimerHandle | None = None  # of the first of these

    @property
    def open(self) -> list[Prompt]:
        now = asyncio.get_running_loop().time()
        return [
            replace(each.prompt, seconds=round(max(each.timer.when() - now, 0.0), 1))
            for each in self._open.values()
            if each.is_shown
        ]

    def why_not(self, guest: str, direction: Direction, percent: int = USUAL_PERCENT) -> str | None:
        """Return why this question cannot be asked now; None: it can. `percent`: how often this
        guest may ask, of the usual."""
        key = guest, direction
        self._pauses.set_percent(key, percent)
        if (pause := self._pauses.until(key)) is not None:
            return pause[1]
        if self._is_open(key):
            return "this question is open already"
        free = OPEN_MAX - len(self._open)
        if free <= 0:
            return f"{OPEN_MAX} questions are open already"
        if free <= len([*takewhile(lambda queued: queued != key, self._queued)]):
            return "others are asked for first"
        return None

    def _is_open(self, key: _Key) -> bool:
        return any(each.key == key for each in self._open.values())

    def ask(
        self,
        guest: str,
        domid: int,
        direction: Direction,
        answered: Callable[[Answer], None],
        source: str | None = None,
        percent: int = USUAL_PERCENT,
    ) -> int:
        """Returns the question's number, or raises NotAsked. `source` is what would be recorded, if
        a rule says so. `percent`: as for why_not(). `answered` is called once, unless the
        question is withdrawn; then all streams are decided anew."""
        key = guest, direction
        why_not = self.why_not(guest, direction, percent)
        if why_not is not None:
            self._wait(key)
            raise NotAsked(why_not)
        loop = asyncio.get_running_loop()
        self._pauses.note_asked(key)
        self._pauses.set_percent(key, percent)
        prompt = Prompt(self._next_number(), guest, domid, direction, self._seconds)
        timer = loop.call_later(self._seconds, self._end, prompt.number, Answer.NONE, 0, "")
        self._open[prompt.number] = _Open(prompt, answered, timer)
        self._leave_queue(key)
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
            self._pauses.note_withdrawn(self._open[number].key)
            self._close(number, "withdrawn")

    def close(self) -> None:
        """End all questions, as the agent ends."""
        for each in self._open.values():
            each.timer.cancel()
        for timer in (*self._paused.values(), *([self._turn] if self._turn else [])):
            timer.cancel()
        self._open.clear()

    def _wait(self, key: _Key) -> None:
        """Decide all streams again when this question may be asked."""
        pause = self._pauses.until(key)
        if pause is None and self._is_open(key):
            self._repeated.add(key)
        elif pause is None:
            self._queued.setdefault(key)
        elif key not in self._paused:
            loop = asyncio.get_running_loop()
            self._paused[key] = loop.call_at(pause[0] + 0.001, self._may_ask, key)

    def _may_ask(self, key: _Key) -> None:
        del self._paused[key]
        self._queue.reconsider(Reason.PROMPT)

    def _give_turn(self) -> None:
        """Decide all streams again, since there is a place for the first of the queue. If it has no
        stream any more, it does not ask, and the next one gets the place."""
        if self._queued and self._turn is None and len(self._open) < OPEN_MAX:
            loop = asyncio.get_running_loop()
            first = next(iter(self._queued))
            self._turn = loop.call_later(TURN_SECONDS, self._leave_queue, first)
            self._queue.reconsider(Reason.PROMPT)

    def _leave_queue(self, key: _Key) -> None:
        if key not in self._queued:
            return
        del self._queued[key]
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._give_turn()

    def _end(self, number: int, answer: Answer, seconds: float, by: str) -> None:
        ended = self._close(number, answer.value, by)
        if answer in (Answer.NO, Answer.NONE):
            said_no = answer is Answer.NO
            self._pauses.note_no(ended.key, "the person said no" if said_no else "nobody answered")
        else:
            self._pauses.note_yes(ended.key)
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
        if closed.key in self._repeated:
            self._repeated.remove(closed.key)
            self._queue.reconsider(Reason.PROMPT)
        self._give_turn()
        return closed

    def _audit(self, kind: EventKind, prompt: Prompt, what: str, **fields: str) -> None:
        text = f"{prompt.direction} {what}"
        event = guest_event(kind, prompt.guest, prompt.domid, text, Priority.NOTICE)
        event.fields.update(
            XENSND_DIRECTION=prompt.direction.value, XENSND_PROMPT=prompt.number, **fields
        )
        self._trail.append(event)
