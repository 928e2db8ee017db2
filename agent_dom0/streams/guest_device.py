"""A sound device of one guest, whatever front it has, and the guest as its owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from agent_dom0.events import EventKind, Priority
from agent_dom0.guest import RunningGuest
from agent_dom0.streams.budget import GuestBudget
from agent_dom0.streams.stream import Stream
from xensnd.sndif.store_fields import Direction


class GuestDevice(Protocol):
    """A sound device of one guest. Its methods raise TransportLost; any other failure ends this
    device alone."""

    @property
    def streams(self) -> Sequence[Stream]: ...
    @property
    def is_in_use(self) -> bool: ...
    def status(self) -> dict[str, Any]:
        """Return it as docs/control.md describes a device."""

    def poll(self) -> None:
        """Serve what waits, after an event of the engine."""

    def close_denied_gates(self) -> None: ...
    def decide(self) -> None:
        """Decide all streams again."""

    def lose_engine(self) -> None:
        """Leave what is open as it is. The next step takes it over with another engine."""

    def hand_over(self) -> None:
        """Stop serving. The next agent, which comes at once, goes on with what is open."""

    def close(self, *, forget: bool) -> None:
        """Stop serving. `forget`: it is gone. Otherwise an agent may come that takes it over."""


class DeviceOwner(Protocol):
    """The guest whose device it is: ServedGuest, as far as devices need it."""

    devices: dict[str, GuestDevice]

    @property
    def guest(self) -> RunningGuest: ...
    @property
    def budget(self) -> GuestBudget: ...
    @property
    def is_quarantined(self) -> bool:
        """Nothing of the guest is touched, so that it can harm nobody."""

    def serving(self) -> AbstractContextManager[None]:
        """Around all that is done for the guest."""

    def was_paused(self) -> bool:
        """Whether the engine has paused its requests since the last call."""

    @property
    def most_streams(self) -> int:
        """How many it may have, in both directions together."""

    def require_room(self, added: Sequence[Direction]) -> None:
        """Check that so many streams may be added. LimitReached: they may not."""

    def has_engine(self, again: Callable[[], None]) -> bool:
        """Whether what serves its rings runs. If not, `again` is called when it is to be tried
        again. OSError: it could not be started."""

    def forget(self, again: Callable[[], None]) -> None:
        """Do not call `again` any more, whatever it waits for."""

    def audit(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None: ...
