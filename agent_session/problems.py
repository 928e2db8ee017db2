"""Logging a problem once, however often it is met."""

from __future__ import annotations

import logging

log = logging.getLogger("xensnd-session")


class ProblemLog:
    """Logs each problem in one line, and again only after another one or after it was solved."""

    def __init__(self) -> None:
        self._logged: str | None = None

    def report(self, problem: str) -> None:
        if problem != self._logged:
            log.warning("%s", problem)
        self._logged = problem

    def is_solved(self) -> None:
        """The next problem is logged, even if it is the same."""
        self._logged = None
