"""What `serve` needs of the guest's own audio server, whichever it is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from agent_guest.pcm import Pcm, SampleSpec
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction

SPEC = SampleSpec(SampleFormat.S16_LE, 48000, 2)

# As applications know them.
SINK = "xensnd"
SOURCE = "xensnd_microphone"


class GuestDevices(ABC):
    """A sink and a source named after the project at the guest's audio server, from `with` to the
    end of the block. Their methods raise AudioUnavailable if the server has gone."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when an application may have begun or ended to play or to record."""
        self.device_lost = asyncio.Event()
        """Set when somebody may have removed a device of ours: call restore_devices()."""
        self.lost = asyncio.Event()
        """Set when the server has gone."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def is_wanted(self, direction: Direction) -> bool:
        """Return whether some application plays into our sink, or records from our source."""

    @abstractmethod
    def restore_devices(self) -> None:
        """Makes those again that somebody has removed."""

    @abstractmethod
    def poll(self) -> None:
        """Checks what has happened in the engine, and sets the events."""

    @abstractmethod
    def target_frames(self, direction: Direction, least_frames: int) -> int:
        """Return how many frames should be in the ring. `least_frames`: of a buffer, for dom0."""

    @abstractmethod
    def attach(self, pcm: Pcm, target_fill_octets: int) -> None:
        """Joins the open stream with our device of its direction."""

    @abstractmethod
    def detach(self, pcm: Pcm) -> None: ...
