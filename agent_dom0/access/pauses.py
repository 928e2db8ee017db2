"""How often one question may be asked: not for a while after a no, and longer each time.

A question that its guest withdraws was shown to a person too. A program that tries a microphone and
lets it go at once is not to be punished for that, so a few are free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from xensnd.backoff import BackOff
from xensnd.core import USUAL_PERCENT

ASKED_MAX = 6  # within this time
ASKED_SECONDS = 60.0
WITHDRAWN_FREE = 6  # since the last yes
PAUSE_FIRST_SECONDS = 10.0
PAUSE_LAST_SECONDS = 600.0
FORGET_SECONDS = 7200.0  # after it was asked; no question is open for so long


@dataclass(slots=True)
class _History:
    asked: deque[float] = field(default_factory=deque)  # when, the last ones
    percent: int = USUAL_PERCENT  # how often it may be asked, of the usual
    withdrawn: int = 0
    paused_until: float = float("-inf")
    paused_seconds: float = 0.0
    why: str = ""
    back_off: BackOff = field(
        default_factory=lambda: BackOff(PAUSE_FIRST_SECONDS, PAUSE_LAST_SECONDS)
    )

    def share_of(self, usual: int) -> int:
        return max(usual * self.percent // USUAL_PERCENT, 1)


class Pauses:
    """Questions are told apart by a key."""

    def __init__(self) -> None:
        self._histories: dict[Hashable, _History] = {}

    def until(self, key: Hashable) -> tuple[float, str] | None:
        """Return until when the question may not be asked, in the loop's time, and why; None: it
        may be."""
        history = self._histories.get(key)
        if history is None:
            return None
        now = _now()
        if now < history.paused_until:
            return history.paused_until, f"{history.why} less than {history.paused_seconds:g} s ago"
        asked, most = history.asked, history.share_of(ASKED_MAX)
        if len(asked) >= most and now < asked[-most] + ASKED_SECONDS:
            why = f"the question was asked {most} times within {ASKED_SECONDS:g} s"
            return asked[-most] + ASKED_SECONDS, why
        return None

    def set_percent(self, key: Hashable, percent: int) -> None:
        """Let this question be asked so much of what is usual, if it was asked before."""
        if key in self._histories:
            self._histories[key].percent = percent

    def note_asked(self, key: Hashable) -> None:
        now = _now()
        self._histories = {
            each: history
            for each, history in self._histories.items()
            if now < max(history.asked[-1], history.paused_until) + FORGET_SECONDS
        }
        asked = self._histories.setdefault(key, _History()).asked
        while asked and asked[0] + ASKED_SECONDS <= now:
            asked.popleft()
        asked.append(now)

    def note_withdrawn(self, key: Hashable) -> None:
        history = self._histories[key]
        history.withdrawn += 1
        if history.withdrawn > history.share_of(WITHDRAWN_FREE):
            self._pause(history, "the question was withdrawn once more")

    def note_no(self, key: Hashable, why: str) -> None:
        self._pause(self._histories[key], why)

    def note_yes(self, key: Hashable) -> None:
        history = self._histories[key]
        history.withdrawn = 0
        history.paused_until = float("-inf")
        history.back_off.reset()

    def _pause(self, history: _History, why: str) -> None:
        history.why = why
        usual_seconds = history.back_off.next_seconds()
        history.paused_seconds = usual_seconds * USUAL_PERCENT / history.percent
        history.paused_until = _now() + history.paused_seconds


def _now() -> float:
    return asyncio.get_running_loop().time()
