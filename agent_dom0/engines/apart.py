"""A guest's engine in a process of its own."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent_dom0.engines import replies
from agent_dom0.engines.calls import REPLY_SECONDS_MAX, EngineCalls
from agent_dom0.engines.gates import Gates, SharedGate
from agent_dom0.engines.handles import (
    ChannelApart,
    ClientApart,
    StreamApart,
    VchanApart,
)
from agent_dom0.engines.interface import (
    EngineLate,
    EngineLost,
    GuestEngine,
    SavedPlace,
    SavedPositions,
)
from agent_dom0.engines.replies import Snapshot
from agent_dom0.engines.zygote import Child, Starting, Zygote
from xensnd.core import USUAL_PERCENT, AudioClient, BackendStream, RingMemory, VchanCore
from xensnd.transport.interface import (
    HANDED_PAGES_MAX,
    EventChannel,
    Handed,
    Pages,
    Transport,
)
from xensnd.transport.pages import MappedPages

# A caller waits so many times longer than for the first answer, which the process gives before it
# meets its guest: a machine that is slow, or busy, needs more patience.
FIRST_ANSWERS = 50

T = TypeVar("T")


class EngineApart(GuestEngine):
    """The first use starts the process, and `started` is called with the connection to it. When it
    is lost and has ended, close() must be called; the next use starts another one.
    `patience_seconds`: how long a caller may wait for it at least, even if it starts quickly."""

    def __init__(
        self,
        transport: Transport,
        zygote: Zygote,
        started: Callable[[EngineCalls], None],
        patience_seconds: float = REPLY_SECONDS_MAX,
    ) -> None:
        self.transport = transport
        self._zygote = zygote
        self._started = started
        self._patience_seconds = patience_seconds
        self._starting: Starting | None = None  # the process, until it is ready
        self._running: Running | None = None
        self._seen: Snapshot | None = None  # while it is valid
        self._last_seen = Snapshot()
        self._budget_percent = USUAL_PERCENT

    # What the handles below use

    def call(
        self, check: Callable[[object], T], do: str, fds: Sequence[int] = (), /, **arguments: object
    ) -> T:
        """Return the result as `check` does. Raises EngineLost, or what the other process has
        raised."""
        self._seen = None
        return self._run().connection.call(check, do, fds, **arguments)

    def call_if_running(
        self, check: Callable[[object], T], do: str, /, **arguments: object
    ) -> T | None:
        """Call what has no object once the process has ended. Returns None then."""
        self._seen = None
        with suppress(EngineLost):
            if self._running is not None:
                return self._running.connection.call(check, do, (), **arguments)
        return None

    def look(self, check: Callable[[object], T], do: str, /, **arguments: object) -> T | None:
        """Ask what changes nothing. Returns None if the process has ended, or is late."""
        with suppress(EngineLost):
            if self._running is not None:
                return self._running.connection.look(check, do, self._until, **arguments)
        return None

    @property
    def _until(self) -> float | None:
        """How long who looks now may wait, in time.monotonic(); None: as for any reply."""
        return None

    def snapshot(self) -> Snapshot:
        if self._seen is not None:
            return self._seen
        found = self._new_snapshot()
        if not found.is_late or self._until is None:
            self._seen = found  # else who is not in haste looks again
        return found

    def _new_snapshot(self) -> Snapshot:
        if self._running is None:
            return Snapshot()
        try:
            connection = self._running.connection
            self._last_seen = connection.look(replies.snapshot, "snapshot", self._until)
        except EngineLate:
            return self._last_seen.kept()
        except EngineLost:
            return Snapshot()
        return self._last_seen

    def fail(self, why: str) -> None:
        """End the process: it does what it cannot do, or hangs."""
        if self._running is not None:
            self._running.connection.lose(why)

    # As GuestEngine has it

    def prepare(self) -> None:
        if self._running is None:
            self._start()

    def is_ready(self, _later: Callable[[], None]) -> bool:
        """It is waited for here: without an event loop there is nothing else to do."""
        self._run()
        return True

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
            address, refs, lambda: self.call_if_running(replies.nothing, "unmap", address=address)
        )

    def bind_channel(self, domid: int, port: int) -> EventChannel:
        handed = self.transport.hand_channel(domid, port)
        own_port = int(handed.layout["port"])
        try:
            return self._receive(handed, lambda: self.transport.end_channel(own_port))
        except BaseException:
            self.transport.end_channel(own_port)
            raise

    def bind_lasting_channel(self, domid: int, port: int) -> EventChannel:
        return self._receive(self.transport.hand_lasting_channel(domid, port), lambda: None)

    def _receive(self, handed: Handed, end: Callable[[], None]) -> ChannelApart:
        try:
            number, fds = self.call(replies.channel, "bind", handed.fds, layout=handed.layout)
        finally:
            handed.close()
        return ChannelApart(self, int(handed.layout["port"]), number, fds, end)

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
        shared = self._share(saved.path)
        with self._gate(shared) as gate:
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
        return StreamApart(self, number, shared, gate)

    def new_vchan(
        self,
        *,
        playback: bool,
        page: Pages,
        left: RingMemory,
        right: RingMemory,
        channel: EventChannel,
        given: SavedPlace | None,
        served_address: int,  # noqa: ARG002 - it is known whom this process serves
    ) -> VchanCore:
        shared = None if given is None else self._share(given.path)
        with self._gate(shared) as gate:
            number = self.call(
                replies.integer,
                "vchan",
                playback=playback,
                page=page.address,
                left=left,
                right=right,
                channel=astuple(channel.fds),
                given=0 if shared is None or given is None else shared + given.offset,
                gate=gate.remote_address,
            )
        return VchanApart(self, number, shared, gate)

    def _share(self, path: Path) -> int:
        """Return where the process has mapped this file."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return self.call(replies.integer, "share", [fd])
        finally:
            os.close(fd)

    @contextmanager
    def _gate(self, shared: int | None) -> Iterator[SharedGate]:
        """A gate for a stream that is made in the block. If that fails, what is `shared` is
        unmapped too."""
        try:
            gate = self._run().gates.take()
            try:
                yield gate
            except BaseException:
                gate.free()
                raise
        except BaseException:
            if shared is not None:
                self.call_if_running(replies.nothing, "unmap", address=shared)
            raise

    def set_budget(self, percent: int) -> None:
        self._budget_percent = percent
        self.call_if_running(replies.nothing, "budget", percent=percent)

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
        self._seen, self._last_seen = None, Snapshot()
        if running is not None:
            running.connection.close()
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.close()

    def _run(self) -> Running:
        """Return the process. If there is none, it is started, and waited for."""
        running = self._running or self._finish_start(Starting.wait)
        if running is None:
            raise _no_start()
        return running

    def _start(self) -> Starting:
        if self._starting is None:
            self._starting = self._zygote.start()
        return self._starting

    def _finish_start(self, follow: Callable[[Starting], Child | None]) -> Running | None:
        """Return the process if it is ready now. `follow` reads what it says. OSError: it does not
        start."""
        starting = self._start()
        try:
            child = follow(starting)
        except (OSError, ValueError) as error:
            self._starting = None
            starting.close()
            raise _no_start() from error
        if child is None:
            return None
        self._starting = None
        connection = EngineCalls(self._zygote, child)
        began = time.monotonic()
        try:
            self._running = Running(connection, Gates(connection))
        except OSError as error:
            connection.lose("it does not start")
            connection.close()
            raise _no_start() from error
        patience_seconds = FIRST_ANSWERS * (time.monotonic() - began)
        connection.patience_seconds = min(
            max(patience_seconds, self._patience_seconds), REPLY_SECONDS_MAX
        )
        self._started(connection)
        if self._budget_percent != USUAL_PERCENT:
            self.set_budget(self._budget_percent)
        return self._running


def _no_start() -> OSError:
    return OSError(errno.EIO, "its engine does not start")


class Running(NamedTuple):
    connection: EngineCalls
    gates: Gates
