"""One stream of a guest: what is open of it, and whether that may sound.

xensnd.core moves the samples. A front opens, starts, stops and closes the stream, as the guest asks
for it. What follows of that is the same for each front, and done here: the decision, the connection
with the audio server, the gate of a microphone, and the audit trail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent_dom0.events import Auditor, EventKind
from agent_dom0.parameters import Limits, SoundParameters, limits_within
from agent_dom0.streams.open_pcm import AudioSide, OpenPcm
from agent_dom0.streams.status import StreamStatus, described, stream_status
from policy.model import Decision, Options
from xensnd.control.answers import Answer
from xensnd.core import SoundCore
from xensnd.sndif.layout import PAGE_OCTETS, buffer_pages
from xensnd.sndif.states import StreamState
from xensnd.sndif.store_fields import Direction


class AccessSide(Protocol):
    """Whether the stream may sound: StreamAccess."""

    @property
    def options(self) -> Options: ...
    @property
    def is_denied(self) -> bool: ...
    def admit(self, parameters: SoundParameters, /) -> None: ...
    def open(self, parameters: SoundParameters, answer: Answer | None = None, /) -> Decision: ...
    def follow(
        self, parameters: SoundParameters, held: Decision, /, *, starts: bool = False
    ) -> Decision: ...
    def close(self, *, goes_on: bool = False) -> None: ...


class StreamAuditor(Auditor, Protocol):
    """StreamAudit, as far as it is needed here."""

    def tell_limit(self, text: str) -> None: ...


class Stream:
    """The part of a stream that all fronts share.

    `name` is its name in its device, such as "0/1". `new_audio` is called each time that it is
    opened.
    """

    def __init__(
        self,
        name: str,
        direction: Direction,
        core: SoundCore,
        access: AccessSide,
        new_audio: Callable[[SoundParameters], AudioSide],
        audit: StreamAuditor,
        limits: Limits,
    ) -> None:
        self.name = name
        self.direction = direction
        self._access = access
        self._audit = audit
        self._limits = limits
        self._pcm: OpenPcm | None = None
        self._sound_core = core
        self._new_audio = new_audio

    # Its state, for others

    @property
    def state(self) -> StreamState:
        return StreamState.CLOSED if self._pcm is None else self._pcm.state

    @property
    def is_open(self) -> bool:
        return self._pcm is not None

    @property
    def mapped_octets(self) -> int:
        """Of the open stream's buffer, in whole pages."""
        pcm = self._pcm
        return 0 if pcm is None else buffer_pages(pcm.parameters.buffer_octets) * PAGE_OCTETS

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    @property
    def is_allowed(self) -> bool:
        return self._pcm is not None and self._pcm.is_allowed

    @property
    def is_heard(self) -> bool:
        """Whether it plays or records at the audio server now, and not only on its clock."""
        return self._pcm is not None and self._pcm.is_heard

    def status(self) -> StreamStatus | None:
        """Return the status; None: the stream is not open."""
        if self._pcm is None:
            return None
        return stream_status(self.name, self.direction, self._pcm, self._sound_core)

    # What others want of it

    def close_denied_gate(self) -> None:
        """Let nothing of a microphone through that is denied now. decide() does all else."""
        if self._pcm is not None and self._access.is_denied:
            self._sound_core.close_gate()

    def decide(self) -> None:
        """Decide the open stream again, and apply the decision."""
        pcm = self._pcm
        if pcm is not None:
            self._apply(pcm, self._access.follow(pcm.parameters, pcm.decision))

    def apply_volume(self) -> bool:
        """Apply the volume and mute that a person has set. Return whether the stream is open."""
        if self._pcm is not None:
            self._pcm.audio.volume.apply_settings()
        return self._pcm is not None

    # For its front

    def _tell_opened(self, parameters: SoundParameters) -> None:
        self._audit.tell(EventKind.STREAM_OPENED, f"{self.name} opened: {described(parameters)}")

    def _tell_taken_over(self) -> None:
        self._audit.tell(EventKind.STREAM_TAKEN_OVER, f"{self.name} taken over")

    def _enter(
        self, parameters: SoundParameters, state: StreamState, answer: Answer | None = None
    ) -> None:
        """The core has opened it. `answer`: what the person has answered an earlier agent."""
        audio = self._new_audio(parameters)
        audio.on_connected = self._tell_started
        self._pcm = OpenPcm(parameters, audio, state)
        self._pcm.is_start_told = self._pcm.is_running  # by an earlier agent
        self._apply(self._pcm, self._access.open(parameters, answer))

    def _run(self, state: StreamState) -> None:
        """Start or stop the open stream."""
        pcm = self._pcm
        if pcm is None:
            return
        was_running, pcm.state = pcm.is_running, state
        if not pcm.is_running:
            self._sound_core.stop()
        else:
            self._sound_core.start()
            if not was_running:
                decision = self._access.follow(pcm.parameters, pcm.decision, starts=True)
                self._apply(pcm, decision)
        self._tell_started()
        if not pcm.is_running and pcm.is_start_told:
            pcm.is_start_told = False
            self._audit.tell(EventKind.STREAM_STOPPED, f"{self.name} stopped")

    def _tell_started(self) -> None:
        """Audit that it runs, once it does: a stream that is allowed, at the audio server."""
        pcm = self._pcm
        if pcm is not None and pcm.has_started and not pcm.is_start_told:
            pcm.is_start_told = True
            self._audit.tell(EventKind.STREAM_STARTED, f"{self.name} started")

    def _leave(self, release: Callable[[], None]) -> None:
        """End the open stream, if there is one. `release` makes the core end it, and gives back
        what the guest had shared for it."""
        if self._pcm is None:
            return
        stats = self._sound_core.stats()
        self._pcm.audio.end()
        release()
        self._pcm = None
        self._access.close()
        self._audit.tell(
            EventKind.STREAM_CLOSED,
            f"{self.name} closed: {stats.octets} octets, "
            f"{stats.discarded_octets} without the audio server, {stats.gaps} gaps",
            XENSND_OCTETS=stats.octets,
            XENSND_DISCARDED_OCTETS=stats.discarded_octets,
            XENSND_GAPS=stats.gaps,
            XENSND_LATE_OCTETS=stats.late_octets,
            XENSND_STALLED=stats.stalled,
        )

    def _hand_over(self, release: Callable[[], None]) -> None:
        """Stop serving it, so that the next agent can go on with what is open. `release` ends the
        core's part, whether the stream is open or not."""
        pcm, self._pcm = self._pcm, None
        if pcm is not None:
            pcm.audio.end()
        release()
        if pcm is not None:
            self._access.close(goes_on=True)

    def _apply(self, pcm: OpenPcm, decision: Decision) -> None:
        """Connect the stream within the limits of the decision, or let it run on its clock."""
        before, pcm.decision = pcm.decision, decision
        if pcm.is_allowed:
            # Always: another rule may allow it now, which ends at another time.
            self._sound_core.open_gate(_monotonic_end_usec(decision))
        if (before.verb, before.options) == (decision.verb, decision.options):
            return
        options = decision.options
        pcm.audio.volume.set_cap(options.max_volume_percent)
        if pcm.is_allowed:
            pcm.audio.sound(options, limits_within(self._limits, options).latency_usec)
        else:
            self._sound_core.close_gate()
            pcm.audio.silence()
        self._tell_started()


def _monotonic_end_usec(decision: Decision) -> int | None:
    """Return when the deciding rule ends, in microseconds of time.monotonic(); None: never."""
    if decision.rule is None or decision.rule.ends is None:
        return None
    rest = decision.rule.ends - datetime.now(UTC)
    return int(time.monotonic() * 1_000_000) + rest // timedelta(microseconds=1)
