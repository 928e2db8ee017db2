"""A PCM between OPEN and CLOSE: a stream that has one is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent_dom0.audio.mixer import AudioDevice
from agent_dom0.audio.stream_volume import Loudness
from policy.model import Decision, Options, Verb
from xensnd.sndif.packets import Open
from xensnd.sndif.states import StreamState
from xensnd.transport.interface import Pages

NOT_DECIDED = Decision(Verb.DENY, None, "not decided yet")


class AudioSide(Protocol):
    """The PCM at the audio server: ServerStream."""

    @property
    def loudness(self) -> Loudness: ...
    @property
    def device(self) -> AudioDevice | None:
        """Where it plays, or what it records; None: not known."""

    @property
    def is_connected(self) -> bool: ...
    def sound(self, options: Options, latency_usec: int, /) -> None:
        """Within these limits, from now on."""

    def silence(self) -> None: ...
    def leave(self) -> None:
        """The core ends the stream itself."""


@dataclass(slots=True)
class OpenPcm:
    request: Open
    buffer: Pages
    audio: AudioSide
    state: StreamState
    decision: Decision = NOT_DECIDED  # that holds

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    @property
    def is_heard(self) -> bool:
        """It plays, or records: never while it ticks on its clock alone."""
        return self.is_allowed and self.is_running and self.audio.is_connected

    @property
    def is_allowed(self) -> bool:
        return self.decision.verb is Verb.ALLOW
