"""One stream of a guest's card: the requests that change it, which are OPEN, CLOSE, TRIGGER,
HW_PARAM_QUERY and those about volume. The core answers all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent_dom0.cards.saved_state import SavedState
from agent_dom0.events import EventKind, Priority
from agent_dom0.parameters import Limits, SoundParameters, answer_within, check_open
from agent_dom0.streams.open_pcm import AudioSide
from agent_dom0.streams.stream import AccessSide, Stream, StreamAuditor
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


class CardStream(Stream):
    """Serves one stream. `name` is its path in the card, such as "0/1". `new_audio` is called for
    each PCM that is opened."""

    def __init__(
        self,
        name: str,
        config: StreamConfig,
        link: Link,
        access: AccessSide,
        new_audio: Callable[[SoundParameters], AudioSide],
        audit: StreamAuditor,
        limits: Limits,
    ) -> None:
        super().__init__(name, config.direction, link.core, access, new_audio, audit, limits)
        self._config = config
        self._link = link
        self._core = link.core
        self._opened: tuple[Open, Pages] | None = None  # while it is open
        self._faults = 0
        self._is_withdrawn = False
        self.is_held = False  # by a player, though withdrawn

    @property
    def rings(self) -> StreamRings:
        return self._link.rings

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
        self._hand_over(self._release_link)

    def _release_link(self) -> None:
        opened, self._opened = self._opened, None
        self._link.close(keep=True)
        if opened is not None:
            opened[1].close()

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
        if self._opened is not None:
            self._link.saved.save(self._opened[0], running=state is StreamState.RUNNING)
        self._run(state)

    # The open PCM

    def _open_pcm(self, request: Open) -> None:
        frame_octets = check_open(request, self._config, self._limits)
        state = next_stream_state(self.state, StreamEvent.OPEN)
        self._close_pcm()
        self._access.admit(request)
        buffer = self._link.map_buffer(request)
        self._core.open_pcm(_core_config(request, frame_octets), buffer.address)
        self._opened = request, buffer
        self._link.saved.save(request, running=False)
        self._tell_opened(request)
        self._enter(request, state)

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
        self._opened = request, buffer
        self._tell_taken_over()
        self._enter(request, StreamState.RUNNING if running else StreamState.PREPARED, answer)
        if running:
            self._core.start()

    def _close_pcm(self) -> None:
        """End the open PCM, if there is one. When it returns, the guest may free its pages."""
        self._leave(self._release_pcm)

    def _release_pcm(self) -> None:
        self._link.saved.clear()
        self._core.close_pcm()
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None

    # Faults

    def _count_fault(self, text: str) -> None:
        self._faults += 1
        if self._faults in {1, FAULTS_MAX}:
            self._audit.tell(EventKind.PROTOCOL_VIOLATION, f"{self.name}: {text}", Priority.WARNING)
        if self._faults >= FAULTS_MAX:
            raise RemoteProtocolError(f"stream {self.name}: {self._faults} requests were invalid")


def _core_config(request: Open, frame_octets: int) -> PcmParameters:
    return PcmParameters(
        rate_hz=request.rate_hz,
        frame_octets=frame_octets,
        buffer_octets=request.buffer_octets,
        period_octets=request.period_octets,
        silence_octet=request.sample_format.silence[0],
    )
