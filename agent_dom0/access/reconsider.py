"""Open streams are decided anew in one place, once for all reasons of one turn of the event loop.

Whatever may change permission asks for that here. It is never done in the middle of something else:
a decision that gives a reason to decide anew is followed by another turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from enum import StrEnum


class Reason(StrEnum):
    POLICY = "policy says something else"
    TIME = "a rule begins or ends to hold"
    AUDIT = "the audit trail is lost or found"
    ANSWER = "a person has answered"
    PROMPT = "a question may be asked again"
    QUBES = "Qubes says something else"
    GUESTS = "a guest has another name"


class DecisionQueue:
    """`decide` gets the reasons, of which there is at least one."""

    def __init__(self, decide: Callable[[Set[Reason]], None]) -> None:
        self._decide = decide
        self._reasons: set[Reason] = set()
        self._turn: asyncio.Handle | None = None
        self._is_closed = False

    def reconsider(self, reason: Reason) -> None:
        """Decides every open stream anew, in the next turn of the event loop."""
        self._reasons.add(reason)
        if self._turn is None and not self._is_closed:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def close(self) -> None:
        """Nothing is decided any more."""
        self._is_closed = True
        if self._turn is not None:
            self._turn.cancel()

    def _take_turn(self) -> None:
        self._turn = None
        reasons, self._reasons = self._reasons, set()
        self._decide(reasons)
