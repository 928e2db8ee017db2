"""Saying what is wrong once, however often it is met."""

from __future__ import annotations

import logging

log = logging.getLogger("xensnd-session")


class Troubles:
    def __init__(self) -> None:
        self._told: str | None = None

    def tell(self, problem: str) -> None:
        if problem != self._told:
            log.warning("%s", problem)
        self._told = problem

    def are_over(self) -> None:
        self._told = None
