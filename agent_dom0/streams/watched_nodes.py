"""The nodes of a device that its guest writes, watched while the guest's budget lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from agent_dom0.streams.budget import GuestBudget
from xensnd.transport.interface import Store


class WatchedNodes:
    """Over the budget the nodes are no longer watched, so that they cost nothing, however often the
    guest writes them. `step` is called when the next window begins; it watches and reads them."""

    def __init__(
        self, budget: GuestBudget, paths: Sequence[str], token: str, step: Callable[[], None]
    ) -> None:
        self._budget = budget
        self._paths = paths
        self._token = token
        self._step = step
        self._is_paused = False

    def watch(self, store: Store) -> None:
        """Set the watches, unless they are paused. To set them again is harmless."""
        if not self._is_paused:
            for path in self._paths:
                store.watch(path, self._token)

    def pause(self, store: Store) -> None:
        """Stop watching until the next window."""
        self._is_paused = True
        self._budget.store_events.poll_later(self._resume)
        self._unwatch(store)

    def close(self, store: Store) -> None:
        """Stop watching for good."""
        self._budget.forget(self._resume)
        self._unwatch(store)

    def _resume(self) -> None:
        self._is_paused = False
        self._step()

    def _unwatch(self, store: Store) -> None:
        for path in self._paths:
            with contextlib.suppress(KeyError):
                store.unwatch(path, self._token)
