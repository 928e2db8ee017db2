"""The part of a device's owner that knows whether the guest's engine runs."""

from __future__ import annotations

from collections.abc import Callable

from agent_dom0.streams.budget import GuestBudget


class AwaitedEngine:
    """It runs, unless a test says otherwise."""

    budget: GuestBudget

    def __init__(self) -> None:
        self.runs_engine = True
        self._awaiting: list[Callable[[], None]] = []

    def has_engine(self, again: Callable[[], None]) -> bool:
        if not self.runs_engine:
            self._awaiting.append(again)
        return self.runs_engine

    def forget(self, again: Callable[[], None]) -> None:
        self.budget.forget(again)

    def let_engine_run(self) -> None:
        self.runs_engine = True
        for again in self._awaiting:
            again()
