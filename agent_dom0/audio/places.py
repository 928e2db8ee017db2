"""How many streams of guests may be at the audio server at once.

PulseAudio lets 256 streams play into a sink, and 256 record a source, from all programs together.
Guests get 224 of each, so that the person's own programs always have some. A stream without a place
runs on its clock until one is free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

PLACES = 224
# From so many on the log says that they run out; again after they were at half of it.
NEARLY_ALL = PLACES * 7 // 8

NO_PLACE = (
    f"waits for a place at the audio server: guests may have {PLACES} streams there in each "
    "direction"
)


@dataclass(slots=True)
class _Side:
    """One direction. `taken`: the guest of each stream that has a place. `waiting`: what to call
    when a stream may ask again, in the order in which they came."""

    taken: dict[object, object] = field(default_factory=dict)
    waiting: dict[object, Callable[[], None]] = field(default_factory=dict)
    was_told: bool = False


class Places:
    """For each guest that has no stream in a direction, one place is kept. So a guest's further
    streams never take the place of another guest's first one."""

    def __init__(self) -> None:
        self._guests: set[object] = set()
        self._sides = {direction: _Side() for direction in Direction}
        self._offers: asyncio.Handle | None = None

    def add_guest(self, guest: object) -> None:
        self._guests.add(guest)

    def remove_guest(self, guest: object) -> None:
        self._guests.discard(guest)
        self._offer_soon()

    def taken(self, direction: Direction) -> int:
        return len(self._sides[direction].taken)

    def take(
        self, direction: Direction, stream: object, guest: object, on_place: Callable[[], None]
    ) -> bool:
        """Return whether the stream has a place now. If not, `on_place` is called later: it may
        take one then."""
        side = self._sides[direction]
        if stream in side.taken:
            return True
        if not self._may_take(side, guest):
            side.waiting[stream] = on_place
            return False
        side.waiting.pop(stream, None)
        side.taken[stream] = guest
        if len(side.taken) >= NEARLY_ALL and not side.was_told:
            side.was_told = True
            log.warning(
                "guests have %d of the %d %s streams that they may have at the audio server",
                len(side.taken),
                PLACES,
                direction.value,
            )
        return True

    def give_back(self, direction: Direction, stream: object) -> None:
        """The stream has gone from the server, or waits no more."""
        side = self._sides[direction]
        side.waiting.pop(stream, None)
        if side.taken.pop(stream, None) is None:
            return
        side.was_told = side.was_told and len(side.taken) > NEARLY_ALL // 2
        self._offer_soon()

    def waits(self, direction: Direction, stream: object) -> bool:
        return stream in self._sides[direction].waiting

    def _may_take(self, side: _Side, guest: object) -> bool:
        left = PLACES - len(side.taken)
        holders = set(side.taken.values())
        if guest not in holders:
            return left > 0
        return left > len(self._guests - holders)

    def _offer_soon(self) -> None:
        if self._offers is None and any(side.waiting for side in self._sides.values()):
            self._offers = asyncio.get_running_loop().call_soon(self._offer)

    def _offer(self) -> None:
        self._offers = None
        for side in self._sides.values():
            for stream, on_place in list(side.waiting.items()):
                if len(side.taken) >= PLACES:
                    break
                if side.waiting.get(stream) is on_place:
                    on_place()
