"""One queue for new decisions: open streams are decided once for all reasons of one turn.

Everything that may change permission calls reconsider(). The decisions are made in the next turn of
the event loop, never inside another call. A decision that gives a new reason causes another turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from enum import StrEnum


class Reason(StrEnum):
    POLICY = "the policy has changed"
    TIME = "a rule begins or ends to apply"
    AUDIT = "the audit trail is lost or found"
    ANSWER = "a person has answered"
    PROMPT = "a question may be asked again"
    QUBES = "the setting in Qubes has changed"
    GUESTS = "a guest has another name"


class DecisionQueue:
    """Calls `decide` with the reasons of one turn, at least one."""

    def __init__(self, decide: Callable[[Set[Reason]], None]) -> None:
        self._decide = decide
        self._reasons: set[Reason] = set()
        self._turn: asyncio.Handle | None = None
        self._is_closed = False

    def reconsider(self, reason: Reason) -> None:
        """Decide every open stream again, in the next turn of the event loop."""
        self._reasons.add(reason)
        if self._turn is None and not self._is_closed:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def close(self) -> None:
        """Make no more decisions."""
        self._is_closed = True
        if self._turn is not None:
            self._turn.cancel()

    def _take_turn(self) -> None:
        self._turn = None
        reasons, self._reasons = self._reasons, set()
        self._decide(reasons)
