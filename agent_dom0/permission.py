"""May this guest play, may it record, now? Policy, and what fails closed around it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from policy.engine import decide, gives_device
from policy.loader import load
from policy.model import Decision, Direction, Policy, Verb
from xensnd.errors import PolicyError

from .audit import Audit
from .events import Event, EventKind, Priority

log = logging.getLogger("xensnd-dom0")


class Permission:
    """Answers from the policy directories as they were at the last load().

    A bad policy denies all capture until it is good again; playback stays on the last good one.
    A lost audit trail denies capture too.
    """

    def __init__(self, directories: Sequence[Path], audit: Audit) -> None:
        self.directories = tuple(directories)
        self._audit = audit
        self._policy = Policy(rules=(), files=())
        self._problem: PolicyError | None = None

    def load(self) -> None:
        try:
            self._policy = load(self.directories)
        except PolicyError as problem:
            self._problem = problem
            self._audit.record(
                Event(
                    EventKind.POLICY_REJECTED,
                    f"{problem}; capture is denied, playback stays as it was",
                    Priority.ERROR,
                    {"XENSND_PROBLEM": str(problem)},
                )
            )
            return
        self._problem = None
        count = len(self._policy.rules)
        self._audit.record(
            Event(
                EventKind.POLICY_LOADED,
                f"policy of {count} rules from {len(self._policy.files)} files",
                fields={"XENSND_RULES": count},
            )
        )

    def decide(self, guest: str, direction: Direction) -> Decision:
        if direction is Direction.CAPTURE:
            if self._problem is not None:
                return Decision(Verb.DENY, None, f"bad policy: {self._problem}")
            if self._audit.is_lost:
                return Decision(Verb.DENY, None, "the audit trail cannot be written")
        return decide(self._policy, guest, direction)

    def gives_device(self, guest: str) -> bool:
        return bool(gives_device(self._policy, guest))
