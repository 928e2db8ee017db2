"""A guest's engine in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import NamedTuple, TypeVar

from agent_dom0.engines import replies
from agent_dom0.engines.calls import EngineCalls
from agent_dom0.engines.gates import Gates
from agent_dom0.engines.handles import ChannelApart, ClientApart, StreamApart
from agent_dom0.engines.interface import EngineLost, GuestEngine, SavedPositions
from agent_dom0.engines.replies import Snapshot
from agent_dom0.engines.zygote import Zygote
from xensnd.core import AudioClient, BackendStream
from xensnd.transport.interface import (
    HANDED_PAGES_MAX,
    EventChannel,
    Handed,
    Pages,
    Transport,
)
from xensnd.transport.pages import MappedPages

T = TypeVar("T")


class EngineApart(GuestEngine):
    """The first use starts the process, and `started` is called with the connection to it. When it
    is lost and has ended, close() must be called; the next use starts another one."""

    def __init__(
        self,
        transport: Transport,
        zygote: Zygote,
        started: Callable[[EngineCalls], None],
    ) -> None:
        self.transport = transport
        self._zygote = zygote
        self._started = started
        self._running: _Running | None = None
        self._seen: Snapshot | None = None  # while it is valid

    # What the handles below use

    def call(
        self, check: Callable[[object], T], do: str, fds: Sequence[int] = (), /, **arguments: object
    ) -> T:
        """Return the result as `check` does. Raises EngineLost, or what the other process has
        raised."""
        self._seen = None
        return self._run().connection.call(check, do, fds, **arguments)

    def call_to_end(
        self, check: Callable[[object], T], do: str, /, **arguments: object
    ) -> T | None:
        """Call what ends something, which has ended if the process has. Returns None then."""
        self._seen = None
        with suppress(EngineLost):
            if self._running is not None:
                return self._running.connection.call(check, do, (), **arguments)
        return None

    def snapshot(self) -> Snapshot:
        if self._seen is None:
            self._seen = self.call_to_end(replies.snapshot, "snapshot") or Snapshot()
        return self._seen

    def fail(self, why: str) -> None:
        """End the process: it does what it cannot do, or hangs."""
        if self._running is not None:
            self._running.connection.lose(why)

    # As GuestEngine has it

    def map_pages(self, domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        handed: list[Handed] = []
        try:
            for start in range(0, len(refs), HANDED_PAGES_MAX):
                some = refs[start : start + HANDED_PAGES_MAX]
                handed.append(self.transport.hand_pages(domid, some))
            address = self.call(
                replies.integer,
                "map",
                [fd for each in handed for fd in each.fds],
                domid=domid,
                refs=list(refs),
                writable=writable,
                layouts=[(len(each.fds), each.layout) for each in handed],
            )
        finally:
            for each in handed:
                each.close()
        return MappedPages(
            address, refs, lambda: self.call_to_end(replies.nothing, "unmap", address=address)
        )

    def bind_channel(self, domid: int, port: int) -> EventChannel:
        handed = self.transport.hand_channel(domid, port)
        own_port = int(handed.layout["port"])
        try:
            number, fds = self.call(replies.channel, "bind", handed.fds, layout=handed.layout)
        except BaseException:
            self.transport.end_channel(own_port)
            raise
        finally:
            handed.close()
        return ChannelApart(self, own_port, number, fds)

    def new_client(self, server: str | None, properties: Mapping[str, str]) -> AudioClient:
        return ClientApart(self, server, properties)

    def new_stream(
        self,
        *,
        playback: bool,
        ring: Pages,
        event_page: Pages,
        requests: EventChannel,
        events: EventChannel,
        saved: SavedPositions,
        served_address: int,  # noqa: ARG002 - it is known whom this process serves
    ) -> BackendStream:
        fd = os.open(saved.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            shared = self.call(replies.integer, "share", [fd])
        finally:
            os.close(fd)
        gate = self._run().gates.take()
        try:
            number = self.call(
                replies.integer,
                "stream",
                playback=playback,
                ring=ring.address,
                event=event_page.address,
                requests=astuple(requests.fds),
                events=astuple(events.fds),
                pcm=shared + saved.pcm_offset,
                gate=gate.remote_address,
            )
        except BaseException:
            self.call_to_end(replies.nothing, "unmap", address=shared)
            gate.free()
            raise
        return StreamApart(self, number, shared, gate)

    @property
    def pauses(self) -> int:
        return self.snapshot().pauses

    def fileno(self) -> int:
        """Return a descriptor that is readable when the core needs a decision: call clear()."""
        return self._run().connection.wake_fd

    def clear(self) -> None:
        """Forget what the core said of itself: it has woken us, since that has changed."""
        self._seen = None
        if self._running is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._running.connection.wake_fd)

    def close(self) -> None:
        """End the process."""
        running, self._running = self._running, None
        self._seen = None
        if running is not None:
            running.connection.close()

    def _run(self) -> _Running:
        """Return the process, which is started if there is none."""
        if self._running is None:
            connection = EngineCalls(self._zygote)
            try:
                self._running = _Running(connection, Gates(connection))
            except OSError:
                connection.lose("it does not start")
                connection.close()
                raise
            self._started(connection)
        return self._running


class _Running(NamedTuple):
    connection: EngineCalls
    gates: Gates
