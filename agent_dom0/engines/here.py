"""The engine in the agent's own process, which serves all guests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from agent_dom0.engines.interface import (
    Engines,
    GuestEngine,
    SavedPlace,
    SavedPositions,
)
from xensnd.core import AudioClient, BackendStream, Budget, Engine, RingMemory, VchanCore
from xensnd.transport.interface import EventChannel, Pages, Transport


class EnginesHere(Engines):
    """`changed` is called when something needs a decision."""

    def __init__(self, transport: Transport, changed: Callable[[], None]) -> None:
        self._transport = transport
        self._changed = changed
        self._core = Engine()

    @property
    def new_client(self) -> Callable[[str | None, Mapping[str, str]], AudioClient]:
        return partial(AudioClient, self._core)

    def begin(self) -> None:
        asyncio.get_running_loop().add_reader(self._core.fileno(), self._on_wake)

    def of_guest(self, _domid: int) -> GuestEngine:
        return EngineHere(self._transport, self._core)

    def in_haste(self) -> AbstractContextManager[None]:
        return nullcontext()  # they answer at once

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._core.fileno())
        self._core.close()

    def _on_wake(self) -> None:
        self._core.clear()
        self._changed()


class EngineHere(GuestEngine):
    """One guest's share of it."""

    def __init__(self, transport: Transport, core: Engine) -> None:
        self._transport = transport
        self._core = core
        self._budget = Budget()

    def prepare(self) -> None:
        """Nothing: it runs."""

    def is_ready(self, _later: Callable[[], None]) -> bool:
        return True

    def map_pages(self, domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        return self._transport.map_pages(domid, refs, writable=writable)

    def bind_channel(self, domid: int, port: int) -> EventChannel:
        return self._transport.bind_channel(domid, port)

    def new_client(self, server: str | None, properties: Mapping[str, str]) -> AudioClient:
        return AudioClient(self._core, server, properties)

    def new_stream(
        self,
        *,
        playback: bool,
        ring: Pages,
        event_page: Pages,
        requests: EventChannel,
        events: EventChannel,
        saved: SavedPositions,
        served_address: int,
    ) -> BackendStream:
        return BackendStream(
            self._core,
            playback=playback,
            ring_address=ring.address,
            event_address=event_page.address,
            requests=requests.fds,
            events=events.fds,
            pcm_address=saved.pcm_address,
            budget=self._budget,
            served_address=served_address,
        )

    def bind_lasting_channel(self, domid: int, port: int) -> EventChannel:
        return self._transport.bind_lasting_channel(domid, port)

    def new_vchan(
        self,
        *,
        playback: bool,
        page: Pages,
        left: RingMemory,
        right: RingMemory,
        channel: EventChannel,
        given: SavedPlace | None,
        served_address: int,
    ) -> VchanCore:
        return VchanCore(
            self._core,
            playback=playback,
            page_address=page.address,
            left=left,
            right=right,
            channel=channel.fds,
            given_address=0 if given is None else given.address,
            budget=self._budget,
            served_address=served_address,
        )

    def set_budget(self, percent: int) -> None:
        self._budget.set_percent(percent)

    @property
    def pauses(self) -> int:
        return self._budget.pauses

    def close(self) -> None:
        """Nothing: the streams were closed before."""
