"""A guest's process that performs an act, in a thread of its own, until it is told to end."""

from __future__ import annotations

import os
import threading

from tests.hostile.acts import ACTS, Act
from tests.support.raw_frontend import eventually


class Performer:
    """What adversaries have in common. A subclass does the act, and knows what it has recorded."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._count = 0  # how often it has done what it does

    def perform(self, act: Act) -> None:
        """Do it, until it cannot go on, or it has ended. It is called again."""
        raise NotImplementedError

    # What it is told

    def begin(self, name: str) -> None:
        """Returns at once."""
        os.nice(19)  # threads inherit it: a guest's vCPU stands behind the sound of others
        self._thread = threading.Thread(target=self._run, args=[ACTS[name]])
        self._thread.start()

    def hears(self, seconds: float) -> bool:
        """Whether something is recorded from now on, within this time."""
        before = self.live_octets()
        return bool(eventually(lambda: self.live_octets() > before, seconds))

    def live_octets(self) -> int:
        """All that was recorded up to now and was not silence."""
        raise NotImplementedError

    def last_live_ns(self) -> int:
        """When that was last so, by time.monotonic_ns()."""
        raise NotImplementedError

    def end(self) -> int:
        """How often it did what it does. If it did something else, that is raised."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise RuntimeError(f"{type(self._failure).__name__}: {self._failure}")
        return self._count

    def _run(self, act: Act) -> None:
        try:
            while not self._ended.is_set():
                self.perform(act)
        except BaseException as failure:
            self._failure = failure
