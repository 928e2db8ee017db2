"""What a stream has while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent_dom0.audio.mixer import AudioDevice
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.parameters import SoundParameters
from policy.model import Decision, Options, Verb
from xensnd.sndif.states import StreamState

NOT_DECIDED = Decision(Verb.DENY, None, "not decided yet")


class AudioSide(Protocol):
    """The open stream at the audio server: ServerStream."""

    @property
    def volume(self) -> StreamVolume: ...
    @property
    def device(self) -> AudioDevice | None:
        """The sink that it plays into, or the source that it records; None: not known."""

    @property
    def is_connected(self) -> bool: ...
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

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    @property
    def is_heard(self) -> bool:
        """Whether it plays or records at the server now, and does not run on its clock alone."""
        return self.is_allowed and self.is_running and self.audio.is_connected

    @property
    def is_allowed(self) -> bool:
        return self.decision.verb is Verb.ALLOW
