"""One running guest: its identity, its devices, and what all its streams share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from agent_dom0 import descriptors
from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.engines.interface import EngineLost, GuestEngine
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.streams.budget import GuestBudget
from agent_dom0.streams.guest_device import GuestDevice
from agent_dom0.streams.quarantine import Quarantine
from agent_dom0.streams.stream import Stream
from xensnd.errors import LimitReached
from xensnd.sndif.store_fields import Direction


def stream_id(domid: int, device: str, name: str) -> str:
    """Return the name of a stream in grants, which stays the same at a take-over."""
    return f"{domid}/{device}/{name}"


class ServedGuest:
    """`devices` are those of all fronts, by their names in a stream's id. `most_streams` returns
    how many streams its cards may have in a direction, `percent_of` how much of the usual budget it
    has."""

    def __init__(
        self,
        guest: RunningGuest,
        engine: GuestEngine,
        audio: GuestClient,
        quarantine: Quarantine,
        trail: GuestTrail,
        most_streams: Callable[[RunningGuest, Direction], int],
        percent_of: Callable[[RunningGuest], int],
    ) -> None:
        self.guest = guest
        self.engine = engine
        self.audio = audio
        self.quarantine = quarantine
        self.budget = GuestBudget(self.audit)
        self._pauses = 0  # of the engine, as of the last call of was_paused()
        self.devices: dict[str, GuestDevice] = {}
        self._awaiting_engine: dict[Callable[[], None], None] = {}
        self.trail = trail
        self._most_streams = most_streams
        self._percent_of = percent_of
        self.follow_policy()

    def follow_policy(self) -> None:
        """Let it have the budget that policy gives it now."""
        percent = self._percent_of(self.guest)
        if percent != self.budget.percent:
            self.budget.set_percent(percent)
            self.trail.set_percent(percent)
            self.engine.set_budget(percent)

    @property
    def budget_percent(self) -> int:
        return self.budget.percent

    @property
    def is_in_use(self) -> bool:
        """Whether it uses a device of ours."""
        return any(device.is_in_use for device in self.devices.values())

    def streams(self, direction: Direction) -> Iterator[Stream]:
        for device in self.devices.values():
            for stream in device.streams:
                if stream.direction is direction:
                    yield stream

    def open_streams(self, direction: Direction) -> int:
        return sum(stream.is_open for stream in self.streams(direction))

    def mapped_octets(self, direction: Direction) -> int:
        return sum(stream.mapped_octets for stream in self.streams(direction))

    @property
    def most_streams(self) -> int:
        """How many its cards may have, in both directions together."""
        return sum(self._most_streams(self.guest, direction) for direction in Direction)

    def require_room(self, added: Sequence[Direction]) -> None:
        """Check that these streams may be added. LimitReached: it would have more than its share,
        or too few file descriptors would be left for all else."""
        for direction in Direction:
            count = added.count(direction) + sum(1 for _ in self.streams(direction))
            most = self._most_streams(self.guest, direction)
            if added.count(direction) and count > most:
                raise LimitReached(
                    f"{count} {direction} streams, and the guest may have {most} (max-streams)"
                )
        descriptors.require_free(len(added) * descriptors.A_STREAM, reserved=descriptors.RESERVED)

    def open_stream_ids(self) -> list[str]:
        return [
            stream_id(self.guest.domid, name, stream.name)
            for name, device in self.devices.items()
            for stream in device.streams
            if stream.is_open
        ]

    def was_paused(self) -> bool:
        """Return whether the engine has paused its requests since the last call."""
        before, self._pauses = self._pauses, self.engine.pauses
        return self._pauses != before

    def is_heard(self, direction: Direction) -> bool:
        """Return whether a stream plays or records at the audio server now."""
        return any(stream.is_heard for stream in self.streams(direction))

    def decide(self) -> None:
        """Decide all its streams again."""
        for device in list(self.devices.values()):
            device.decide()

    def set_volume(
        self, direction: Direction, *, percent: int | None = None, is_muted: bool | None = None
    ) -> int:
        """Set what a person wants. Return how many open streams that changed."""
        if percent is not None:
            self.audio.set_percent(direction, percent)
        if is_muted is not None:
            self.audio.set_muted(direction, is_muted)
        return sum(stream.apply_volume() for stream in self.streams(direction))

    def rename(self, guest: RunningGuest) -> None:
        """Use the new name of the guest. Its streams must then be decided again."""
        before, self.guest = self.guest, replace(guest, shares_name=self.guest.shares_name)
        self.audio.rename(self.guest)
        if guest.name != before.name:
            text = f"renamed, was {before.name}"
            event = guest_event(
                EventKind.GUEST_RENAMED, guest.name, guest.domid, text, Priority.NOTICE
            )
            event.fields["XENSND_OLD_NAME"] = before.name
            self.trail.append(event)

    def share_name(self, *, shares: bool) -> None:
        """Note whether another guest of this name runs. Its streams must then be decided again."""
        self.guest = replace(self.guest, shares_name=shares)
        if shares:
            self.audit(
                EventKind.NAME_SHARED,
                f"domain {self.guest.domid} shares its name with another running guest; "
                "none of them may record",
                Priority.WARNING,
            )

    def serving(self) -> AbstractContextManager[None]:
        return self.quarantine.serving()

    @property
    def is_quarantined(self) -> bool:
        return self.quarantine.is_on

    def start_engine(self) -> None:
        """Let its engine start, and do not wait for it."""
        self.engine.prepare()

    def has_engine(self, again: Callable[[], None]) -> bool:
        """Return whether its engine runs. If not, it starts, and `again` is called once it runs, or
        cannot. OSError: it could not be started."""
        is_ready = self.engine.is_ready(self._tell_ready)
        if not is_ready:
            self._awaiting_engine[again] = None
        return is_ready

    def _tell_ready(self) -> None:
        awaiting, self._awaiting_engine = self._awaiting_engine, {}
        for again in awaiting:
            again()

    def forget(self, again: Callable[[], None]) -> None:
        """Do not call `again` any more, whatever it waits for."""
        self._awaiting_engine.pop(again, None)
        self.budget.forget(again)

    def expect_sound(self) -> None:
        """Connect to the audio server, for streams that are about to be taken over."""
        with self.serving(), suppress(EngineLost):
            self.audio.expect()

    def lose_engine(self, why: str, *, is_fault: bool) -> None:
        """Its engine, a process of its own, has ended. What was open is taken over by another."""
        if is_fault:
            self.quarantine.count_death()
        for device in list(self.devices.values()):
            device.lose_engine()
        self.audio.drop()
        kind = EventKind.DIED_SERVING if is_fault else EventKind.ENGINE_REPLACED
        self.audit(kind, f"its engine: {why}", Priority.WARNING if is_fault else Priority.NOTICE)

    def tell_quarantine(self) -> None:
        """What came of the last agent's death, or its engine's."""
        quarantine = self.quarantine
        if quarantine.died_with_agent:
            text = "an agent died while it served this guest"
            self.audit(EventKind.DIED_SERVING, text, Priority.WARNING)
        if quarantine.is_on:
            text = (
                f"what served this guest died {quarantine.deaths} times; "
                f"it is not served for {quarantine.seconds_left:.0f} s"
            )
            self.audit(EventKind.GUEST_QUARANTINED, text, Priority.WARNING)

    def release(self, by: str | None) -> None:
        """End its quarantine. `by`: the person who has ended it; None: its time is over."""
        if by is None:
            self.quarantine.end()
        else:
            self.quarantine.lift()
        guest, text = self.guest, "is served again"
        event = guest_event(
            EventKind.GUEST_RELEASED, guest.name, guest.domid, text, Priority.NOTICE
        )
        if by is not None:
            event.fields["XENSND_BY"] = by
        self.trail.append(event)

    def close(self, *, forget: bool = False) -> None:
        """Its devices were closed before. `forget`: it is gone."""
        self._awaiting_engine.clear()
        self.budget.close()
        self.audio.close(forget=forget)
        self.engine.close()
        self.quarantine.close(forget=forget)
        self.trail.close()

    def audit(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None:
        guest = self.guest
        self.trail.append(guest_event(kind, guest.name, guest.domid, text, priority))
