"""A PCM between OPEN and CLOSE: a stream that has one is open."""

from __future__ import annotations

from dataclasses import dataclass

from agent_dom0.audio.stream_volume import Loudness
from policy.model import Decision, Verb
from xensnd.sndif.packets import Open
from xensnd.sndif.states import StreamState
from xensnd.transport.interface import Pages

NOT_DECIDED = Decision(Verb.DENY, None, "not decided yet")


@dataclass(slots=True)
class OpenPcm:
    request: Open
    buffer: Pages
    volume: Loudness
    state: StreamState
    decision: Decision = NOT_DECIDED  # that holds

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    @property
    def is_allowed(self) -> bool:
        return self.decision.verb is Verb.ALLOW
