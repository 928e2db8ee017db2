"""One direction of a guest's sound over vchan.

Playback is open for as long as the vchans are connected, and runs unless the guest has corked its
sink. A recording is open while the guest's source runs: so a question about it is asked when the
guest begins to use its microphone, and the answer ends with that.
"""

from __future__ import annotations

from collections.abc import Callable

from agent_dom0.parameters import Limits, SoundParameters
from agent_dom0.streams.open_pcm import AudioSide
from agent_dom0.streams.stream import AccessSide, Stream, StreamAuditor
from xensnd.control.answers import Answer
from xensnd.core import VchanCore
from xensnd.sndif.states import StreamState
from xensnd.sndif.store_fields import Direction


class VchanStream(Stream):
    def __init__(
        self,
        name: str,
        direction: Direction,
        core: VchanCore,
        parameters: SoundParameters,
        access: AccessSide,
        new_audio: Callable[[SoundParameters], AudioSide],
        audit: StreamAuditor,
        limits: Limits,
    ) -> None:
        super().__init__(name, direction, core, access, new_audio, audit, limits)
        self._core = core
        self._parameters = parameters

    def tell_limit(self, text: str) -> None:
        """Audit that the guest has reached a limit."""
        self._audit.tell_limit(text)

    def follow(self, *, runs: bool) -> None:
        """Follow the guest, whose sink or source runs or not."""
        if self.direction is Direction.PLAYBACK:
            self._open()
            self._run(StreamState.RUNNING if runs else StreamState.PAUSED)
        elif runs:
            self._open()
            self._run(StreamState.RUNNING)
        else:
            self._end()

    def adopt(self, answer: Answer | None, *, runs: bool) -> None:
        """Go on with what an earlier agent has served. `answer`: what the person has answered
        it."""
        if self.direction is Direction.CAPTURE and not runs:
            return
        self._tell_taken_over()
        self._enter(self._parameters, StreamState.RUNNING if runs else StreamState.PAUSED, answer)
        if runs:
            self._core.start()

    def hand_over(self) -> None:
        """Its engine has ended. What is open is left as it is."""
        self._hand_over(lambda: None)

    def close(self) -> None:
        """End it: the vchans are about to be closed."""
        self._end()

    def _open(self) -> None:
        if self.is_open:
            return
        self._core.reset()
        self._tell_opened(self._parameters)
        self._enter(self._parameters, StreamState.PREPARED)

    def _end(self) -> None:
        self._leave(self._core.reset)
