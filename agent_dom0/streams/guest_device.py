"""A sound device of one guest, whatever front it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agent_dom0.streams.stream import Stream


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

    def close(self, *, forget: bool) -> None:
        """Stop serving. `forget`: it is gone. Otherwise the next agent takes it over."""
