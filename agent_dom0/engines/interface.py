"""What serves one guest's rings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from xensnd.core import AudioClient, BackendStream, RingMemory, VchanCore
from xensnd.transport.interface import EventChannel, Pages


class GuestEngine(Protocol):
    """The core, with the pages and channels of one guest. Their addresses and descriptors are those
    of the core's process; they mean nothing to the caller.

    If the core is in a process of its own and that has ended, EngineLost is raised, except by what
    ends something.
    """

    def prepare(self) -> None:
        """Begin to start what is not running yet."""

    def is_ready(self, later: Callable[[], None]) -> bool:
        """Return whether it runs. If not, it starts, and `later` is called once it runs, or cannot.
        OSError: it could not be started. Who calls anything else waits until it runs."""

    def map_pages(self, domid: int, refs: Sequence[int], *, writable: bool) -> Pages: ...
    def bind_channel(self, domid: int, port: int) -> EventChannel: ...
    def new_client(self, server: str | None, properties: Mapping[str, str]) -> AudioClient: ...
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
    ) -> BackendStream: ...
    def bind_lasting_channel(self, domid: int, port: int) -> EventChannel:
        """As Transport has it: it stays bound when it is closed, and when the engine ends."""

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
        """`given`: where the core keeps what it gave to the audio server last."""

    def set_budget(self, percent: int) -> None:
        """Let the guest cause so much of the usual work, also in an engine that starts later."""

    @property
    def pauses(self) -> int:
        """How often the core has paused the guest, which was over its budget."""

    def close(self) -> None: ...


class Engines(Protocol):
    """Those of all guests."""

    @property
    def new_client(self) -> Callable[[str | None, Mapping[str, str]], AudioClient] | None:
        """As that of a guest's engine, if all guests have the same one; None: each has its own."""

    def begin(self) -> None:
        """Call back from now on, in the event loop that runs."""

    def of_guest(self, domid: int) -> GuestEngine: ...
    def in_haste(self) -> AbstractContextManager[None]:
        """In the block, what an engine does not tell within some ms is what it told before."""

    def close(self) -> None:
        """The guests' engines were closed before."""


class SavedPositions(Protocol):
    """Where the positions of an open PCM outlive the process: SavedState."""

    @property
    def path(self) -> Path: ...
    @property
    def pcm_address(self) -> int: ...
    @property
    def pcm_offset(self) -> int:
        """Where they are in the file."""


class SavedPlace(NamedTuple):
    """A part of a file that outlives the process."""

    path: Path
    offset: int
    address: int  # where it is mapped here


class EngineLost(OSError):
    """The process of a guest's engine has ended, or does not respond."""


class EngineLate(EngineLost):
    """The process has not answered yet. If it does, another one takes over what it serves, since
    what was asked may be done or not."""
