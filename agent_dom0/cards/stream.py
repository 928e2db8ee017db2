"""One stream of a guest's card: its requests, and whether it may sound.

xensnd.core moves the samples. This module serves the requests that change the stream: OPEN, CLOSE,
TRIGGER, HW_PARAM_QUERY and those about volume.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent_dom0.cards.open_pcm import AudioSide, OpenPcm
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.cards.status import StreamStatus, described, stream_status
from agent_dom0.events import Auditor, EventKind, Priority
from agent_dom0.parameters import Limits, answer_within, check_open, limits_within
from policy.model import Decision, Options
from xensnd.control.answers import Answer
from xensnd.core import REFUSED_MAX, BackendStream, PcmParameters, Violation
from xensnd.errors import AccessDenied, RemoteProtocolError, TransportLost
from xensnd.sndif.packets import (
    Close,
    HwParamQuery,
    Open,
    Read,
    Request,
    Response,
    Span,
    Status,
    Trigger,
    TriggerRequest,
    Write,
    decode_request,
    encode_response,
    operation_of,
    peek_request,
)
from xensnd.sndif.params import HwParams, NothingInCommon
from xensnd.sndif.states import StreamEvent, StreamState, next_stream_state
from xensnd.sndif.store_fields import StreamConfig, StreamRings
from xensnd.transport.interface import Pages

# After so many invalid requests of a stream its device is closed.
FAULTS_MAX = 64

_VIOLATIONS = {
    Violation.RING_INDEX: "the request ring's index is out of range",
    Violation.STORM: "too many requests or notifications for too long",
    Violation.REFUSED: f"{REFUSED_MAX} READs and WRITEs were invalid",
}
_TRIGGERS = {
    Trigger.START: StreamEvent.START,
    Trigger.PAUSE: StreamEvent.PAUSE,
    Trigger.STOP: StreamEvent.STOP,
    Trigger.RESUME: StreamEvent.RESUME,
}


class Link(Protocol):
    """StreamLink, as far as it is needed here."""

    @property
    def rings(self) -> StreamRings: ...
    @property
    def core(self) -> BackendStream: ...
    @property
    def saved(self) -> SavedState: ...
    def map_buffer(self, request: Open) -> Pages: ...
    def close(self, *, keep: bool) -> None: ...


class AccessSide(Protocol):
    """Whether the stream may sound: StreamAccess."""

    @property
    def options(self) -> Options: ...
    @property
    def is_denied(self) -> bool: ...
    def admit(self, request: Open, /) -> None: ...
    def open(self, request: Open, answer: Answer | None = None, /) -> Decision: ...
    def follow(self, request: Open, held: Decision, /, *, starts: bool = False) -> Decision: ...
    def close(self, *, goes_on: bool = False) -> None: ...


class StreamAuditor(Auditor, Protocol):
    """StreamAudit, as far as it is needed here."""

    def tell_limit(self, text: str) -> None: ...


class Stream:
    """Serves one stream. `name` is its path in the card, such as "0/1". `new_audio` is called for
    each PCM that is opened."""

    def __init__(
        self,
        name: str,
        config: StreamConfig,
        link: Link,
        access: AccessSide,
        new_audio: Callable[[Open], AudioSide],
        audit: StreamAuditor,
        limits: Limits,
    ) -> None:
        self.name = name
        self.direction = config.direction
        self._config = config
        self._link = link
        self._core = link.core
        self._access = access
        self._new_audio = new_audio
        self._audit = audit
        self._limits = limits
        self._pcm: OpenPcm | None = None
        self._faults = 0
        self._is_withdrawn = False
        self.is_held = False  # by a player, though withdrawn

    # Its state, for others

    @property
    def rings(self) -> StreamRings:
        return self._link.rings

    @property
    def state(self) -> StreamState:
        return StreamState.CLOSED if self._pcm is None else self._pcm.state

    @property
    def is_open(self) -> bool:
        return self._pcm is not None

    @property
    def mapped_octets(self) -> int:
        """Of the open PCM's buffer, in whole pages."""
        return 0 if self._pcm is None else self._pcm.buffer.octets

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
        return stream_status(self.name, self.direction, self._pcm, self._core)

    # Called by its device

    def begin(self, *, adopt: bool) -> None:
        """Begin to serve requests. `adopt`: an earlier agent has served this frontend."""
        if adopt:
            self._adopt()
        if self._pcm is None:
            self._link.saved.clear()  # it may belong to another guest
        self._core.begin(succeeds=adopt)

    def next_request(self) -> bytes | None:
        """Return a copy of the waiting, untrusted request. RemoteProtocolError: end the session."""
        violation = self._core.violation
        if violation is not Violation.NONE:
            raise RemoteProtocolError(f"stream {self.name}: {_VIOLATIONS[violation]}")
        return self._core.next_request()

    def answer(self, packet: bytes) -> None:
        """Serve the waiting request. RemoteProtocolError: close the session."""
        self._core.answer(self._serve(packet))

    def tell_limit(self, text: str) -> None:
        """Audit that the guest has reached a limit."""
        self._audit.tell_limit(text)

    def close_denied_gate(self) -> None:
        """Let nothing of a microphone through that is denied now. decide() does all else."""
        if self._pcm is not None and self._access.is_denied:
            self._core.close_gate()

    def decide(self) -> None:
        """Decide the open PCM again, and apply the decision."""
        if self._pcm is not None:
            self._apply(self._pcm, self._access.follow(self._pcm.request, self._pcm.decision))

    def apply_volume(self) -> bool:
        """Apply the volume and mute that a person has set. Return whether a PCM is open."""
        if self._pcm is not None:
            self._pcm.audio.volume.apply_settings()
        return self._pcm is not None

    def withdraw(self) -> None:
        """Give errors to the players from now on, so that they close the card, which goes away."""
        self._is_withdrawn = True
        self.is_held = self.is_open
        self._close_pcm()

    def close(self) -> None:
        self._close_pcm()
        self._link.close(keep=False)

    def hand_over(self) -> None:
        """Stop serving and keep the saved state: the next agent adopts the open PCM."""
        pcm, self._pcm = self._pcm, None
        if pcm is not None:
            pcm.audio.end()
        self._link.close(keep=True)
        if pcm is not None:
            pcm.buffer.close()
            self._access.close(goes_on=True)

    # Requests

    def _serve(self, packet: bytes) -> bytes:
        """Return the response to one request, whatever its 64 octets are."""
        request_id, operation = peek_request(packet)
        params: HwParams | None = None
        status = Status.OK
        try:
            params = self._handle(decode_request(packet)[1])
        except NothingInCommon:
            status = Status.EINVAL
        except RemoteProtocolError as error:
            status = Status.EINVAL
            self._count_fault(str(error))
        except AccessDenied:
            status = Status.EACCES
        except NotImplementedError:
            status = Status.EOPNOTSUPP
        except (TransportLost, ConnectionAbortedError):
            status = Status.EIO
        except OSError as error:  # no descriptors, memory or grants are left
            status = Status.EIO
            self._audit.tell_limit(f"{self.name}: a request failed: {error}")
        return encode_response(Response(request_id, operation, status, params))

    def _handle(self, request: Request) -> HwParams | None:
        if self._is_withdrawn:
            self.is_held = self.is_held and not isinstance(request, Close)
            if not isinstance(request, Close):
                raise ConnectionAbortedError
        match request:
            case HwParamQuery(params):
                return self._answer_query(params)
            case Open():
                self._open_pcm(request)
            case Close():
                next_stream_state(self.state, StreamEvent.CLOSE)
                self._close_pcm()
            case TriggerRequest(trigger):
                self._trigger(_TRIGGERS[trigger])
            case Read() | Write():
                raise NotImplementedError  # the core answers these
            case Span():
                if self._pcm is None:
                    raise RemoteProtocolError(f"{operation_of(request).name} before OPEN")
                self._pcm.audio.volume.serve(request)
        return None

    def _answer_query(self, asked: HwParams) -> HwParams:
        try:
            return answer_within(asked, self._config, self._limits, self._access.options)
        except AccessDenied as error:
            self._audit.tell_limit(f"refused: {error}")
            raise

    def _trigger(self, event: StreamEvent) -> None:
        state = next_stream_state(self.state, event)
        pcm = self._pcm
        if pcm is None:
            return
        was_running, pcm.state = pcm.is_running, state
        self._link.saved.save(pcm.request, running=pcm.is_running)
        if not pcm.is_running:
            self._core.stop()
        else:
            self._core.start()
            if not was_running:
                self._apply(pcm, self._access.follow(pcm.request, pcm.decision, starts=True))
        if pcm.is_running is not was_running:
            kind = EventKind.STREAM_STARTED if pcm.is_running else EventKind.STREAM_STOPPED
            self._audit.tell(kind, f"{self.name} {'started' if pcm.is_running else 'stopped'}")

    # The open PCM

    def _open_pcm(self, request: Open) -> None:
        frame_octets = check_open(request, self._config, self._limits)
        state = next_stream_state(self.state, StreamEvent.OPEN)
        self._close_pcm()
        self._access.admit(request)
        buffer = self._link.map_buffer(request)
        self._core.open_pcm(_core_config(request, frame_octets), buffer.address)
        self._link.saved.save(request, running=False)
        self._audit.tell(EventKind.STREAM_OPENED, f"{self.name} opened: {described(request)}")
        self._enter(request, buffer, state, None)

    def _adopt(self) -> None:
        """Take over the PCM that an earlier agent had open, if there is one."""
        saved = self._link.saved.load()
        if saved is None:
            return
        request, running, answer = saved
        try:
            frame_octets = check_open(request, self._config, self._limits)
            buffer = self._link.map_buffer(request)
        except (RemoteProtocolError, TransportLost):
            # The guest has given up meanwhile and has taken its pages back.
            return
        if not self._core.adopt_pcm(_core_config(request, frame_octets), buffer.address):
            buffer.close()
            return
        self._audit.tell(EventKind.STREAM_TAKEN_OVER, f"{self.name} taken over")
        state = StreamState.RUNNING if running else StreamState.PREPARED
        self._enter(request, buffer, state, answer)
        if running:
            self._core.start()

    def _enter(
        self, request: Open, buffer: Pages, state: StreamState, answer: Answer | None
    ) -> None:
        self._pcm = OpenPcm(request, buffer, self._new_audio(request), state)
        self._apply(self._pcm, self._access.open(request, answer))

    def _close_pcm(self) -> None:
        """Ends the open PCM, if there is one. When it returns, the guest may free its pages."""
        if self._pcm is None:
            return
        stats = self._core.stats()
        self._link.saved.clear()
        self._pcm.audio.end()
        self._core.close_pcm()
        self._pcm.buffer.close()
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

    def _apply(self, pcm: OpenPcm, decision: Decision) -> None:
        """Connect the stream within the limits of the decision, or let it run on its clock."""
        before, pcm.decision = pcm.decision, decision
        if pcm.is_allowed:
            # Always: another rule may allow it now, which ends at another time.
            self._core.open_gate(_monotonic_end_usec(decision))
        if (before.verb, before.options) == (decision.verb, decision.options):
            return
        options = decision.options
        pcm.audio.volume.set_cap(options.max_volume_percent)
        if pcm.is_allowed:
            pcm.audio.sound(options, limits_within(self._limits, options).latency_usec)
        else:
            self._core.close_gate()
            pcm.audio.silence()

    # Faults

    def _count_fault(self, text: str) -> None:
        self._faults += 1
        if self._faults in {1, FAULTS_MAX}:
            self._audit.tell(EventKind.PROTOCOL_VIOLATION, f"{self.name}: {text}", Priority.WARNING)
        if self._faults >= FAULTS_MAX:
            raise RemoteProtocolError(f"stream {self.name}: {self._faults} requests were invalid")


def _monotonic_end_usec(decision: Decision) -> int | None:
    """Return when the deciding rule ends, in microseconds of time.monotonic(); None: never."""
    if decision.rule is None or decision.rule.ends is None:
        return None
    rest = decision.rule.ends - datetime.now(UTC)
    return int(time.monotonic() * 1_000_000) + rest // timedelta(microseconds=1)


def _core_config(request: Open, frame_octets: int) -> PcmParameters:
    return PcmParameters(
        rate_hz=request.rate_hz,
        frame_octets=frame_octets,
        buffer_octets=request.buffer_octets,
        period_octets=request.period_octets,
        silence_octet=request.sample_format.silence[0],
    )
