"""What a stream has while it is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent_dom0.audio.mixer import AudioDevice
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.parameters import SoundParameters
from policy.model import Decision, Options, Verb
from xensnd.sndif.states import StreamState

NOT_DECIDED = Decision(Verb.DENY, None, "not decided yet")


class AudioSide(Protocol):
    """The open stream at the audio server: ServerStream. `on_connected` is called each time that it
    is connected."""

    on_connected: Callable[[], None]

    @property
    def volume(self) -> StreamVolume: ...
    @property
    def device(self) -> AudioDevice | None:
        """The sink that it plays into, or the source that it records; None: not known."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def why_silent(self) -> str | None:
        """Why it is not connected although it may sound; None: it is, or will be soon."""

    def sound(self, options: Options, latency_usec: int, /) -> None:
        """Connect to the server within these limits."""

    def silence(self) -> None: ...
    def end(self) -> None:
        """Stop controlling the stream. The core then ends it at the server."""


@dataclass(slots=True)
class OpenPcm:
    parameters: SoundParameters
    audio: AudioSide
    state: StreamState
    decision: Decision = NOT_DECIDED  # that holds
    is_start_told: bool = False  # whether the trail says that it runs

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    @property
    def is_heard(self) -> bool:
        """Whether it plays or records at the server now, and does not run on its clock alone."""
        return self.is_allowed and self.is_running and self.audio.is_connected

    @property
    def has_started(self) -> bool:
        """Whether it runs as policy says: at the server, or on its clock if it may not sound."""
        return self.is_running and (self.is_heard or not self.is_allowed)

    @property
    def is_allowed(self) -> bool:
        return self.decision.verb is Verb.ALLOW
