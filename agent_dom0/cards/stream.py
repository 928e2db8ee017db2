"""One stream of a guest's card: its requests, and whether it may sound.

Samples never come here; xensnd.core moves them. What comes here is what changes the stream:
OPEN, CLOSE, TRIGGER, HW_PARAM_QUERY.
"""

from __future__ import annotations

from agent_dom0.access.stream_access import Permit
from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.bounds import answer_within, limits_within
from agent_dom0.cards.rings import connect, map_buffer
from agent_dom0.cards.saved_state import StreamRecord
from agent_dom0.cards.status import StreamStatus, described, is_heard, stream_status
from agent_dom0.cards.throttle import REQUESTS_A_SECOND
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.guest import Guest
from agent_dom0.parameters import Limits, check_open
from agent_dom0.services import Services
from policy.model import NO_OPTIONS, Decision, Verb
from xensnd.core import BackendStream, PcmConfig, Violation
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
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.interface import Pages

# A guest may get this many requests wrong while its device is connected; then it is closed.
FAULTS_MAX = 64

_VIOLATIONS = {
    Violation.RING_INDEX: "the request ring's index is beyond the ring",
    Violation.STORM: "it notifies without end",
}
_TRIGGERS = {
    Trigger.START: StreamEvent.START,
    Trigger.PAUSE: StreamEvent.PAUSE,
    Trigger.STOP: StreamEvent.STOP,
    Trigger.RESUME: StreamEvent.RESUME,
}


def _pcm_config(request: Open, frame_octets: int) -> PcmConfig:
    return PcmConfig(
        rate_hz=request.rate_hz,
        frame_octets=frame_octets,
        buffer_octets=request.buffer_octets,
        period_octets=request.period_octets,
        silence_octet=request.sample_format.silence[0],
    )


class Stream:
    """`name` is where it stands in the card, such as "0/1"."""

    def __init__(
        self,
        services: Services,
        guest: Guest,
        client: GuestClient,
        devid: int,
        name: str,
        config: StreamConfig,
        rings: StreamRings,
        record: StreamRecord,
    ) -> None:
        self.name = name
        self.direction = config.direction
        self.rings = rings
        self._services = services
        self._guest = guest
        self._client = client
        self._config = config
        self._state = StreamState.CLOSED
        self._open: Open | None = None
        self._options = NO_OPTIONS  # of the decision that holds
        self._buffer: Pages | None = None
        self._audio: ServerStream | None = None  # of the open PCM
        self._faults = 0
        self._is_withdrawn = False
        self.is_held = False  # by a player, though withdrawn
        self._permit = Permit(
            services,
            guest,
            client.shared,
            self.direction,
            f"{guest.domid}/{devid}/{name}",
            self._apply,
            record.save_answer,
        )
        self._connection = connect(services.transport, guest.domid, rings)
        self._record = record
        self._core = BackendStream(
            services.engine,
            playback=config.direction is Direction.PLAYBACK,
            ring_address=self._connection.ring.address,
            event_address=self._connection.event_page.address,
            requests=self._connection.requests.fds,
            events=self._connection.events.fds,
            pcm_address=record.pcm_address,
        )

    # What the agent asks of it

    def look(self) -> bool:
        """Serves the request that waits, if one does. False: it waits on, since its guest has had
        its share. RemoteProtocolError: close the session."""
        violation = self._core.violation
        if violation is not Violation.NONE:
            raise RemoteProtocolError(f"stream {self.name}: {_VIOLATIONS[violation]}")
        packet = self._core.next_request()
        if packet is None:
            return True
        if not self._client.shared.throttle.admits():
            self._permit.say_limit(f"{self.name}: {REQUESTS_A_SECOND} requests within a second")
            return False
        self._core.answer(self._serve(packet))
        return True

    def follow_policy(self) -> None:
        """Policy, or the audit trail, changed: an open stream is decided anew."""
        self._permit.follow()

    def status(self) -> StreamStatus:
        return stream_status(
            self.name,
            self.direction,
            self._state,
            self._open,
            self._permit.decision,
            self._core,
            self._audio,
        )

    @property
    def is_heard(self) -> bool:
        """It records, or plays: for the guest, and not on its clock alone."""
        return is_heard(self._state, self._permit.decision, self._audio)

    @property
    def is_allowed(self) -> bool:
        decision = self._permit.decision
        return decision is not None and decision.verb is Verb.ALLOW

    @property
    def is_running(self) -> bool:
        return self._state is StreamState.RUNNING

    @property
    def id(self) -> str:
        return self._permit.stream

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def turn(self) -> bool:
        """A person has turned the guest's knobs. Whether there is a stream to hear it of."""
        if self._audio is not None:
            self._audio.loudness.turned()
        return self._audio is not None

    def withdraw(self) -> None:
        """The card is to go. Whoever has this open gets errors from now on, and closes it."""
        self._is_withdrawn = True
        self.is_held = self.is_open
        self._close_pcm()

    def close(self) -> None:
        self._close_pcm()
        self._core.close()
        self._record.close(keep=False)
        self._connection.close()

    def leave(self) -> None:
        """Ends here, not for the guest: the next agent takes the stream over where it stands."""
        self._permit.leave()
        if self._audio is not None:
            self._audio.leave()
        self._core.close()
        self._record.close(keep=True)
        if self._buffer is not None:
            self._buffer.close()
        self._connection.close()

    def begin(self, *, adopt: bool) -> None:
        """Serves from now on. `adopt`: its frontend was connected to an agent before us."""
        if adopt:
            self._adopt()
        if self._open is None:
            self._record.clear()  # what is there may be of another guest
        self._core.begin(succeeds=adopt)

    def _adopt(self) -> None:
        """Takes over what an agent before us had open."""
        recorded = self._record.load()
        if recorded is None:
            return
        request, running, said = recorded
        try:
            frame_octets = check_open(request, self._config, self._services.limits)
            self._buffer = map_buffer(self._services.transport, self._guest.domid, request)
        except (RemoteProtocolError, TransportLost):
            # The guest gave up meanwhile, and its pages are its own again.
            return
        if not self._core.adopt_pcm(_pcm_config(request, frame_octets), self._buffer.address):
            self._buffer.close()
            self._buffer = None
            return
        self._open = request
        self._audio = self._new_audio(request)
        self._state = StreamState.RUNNING if running else StreamState.PREPARED
        self._say(EventKind.STREAM_TAKEN_OVER, f"{self.direction} {self.name} taken over")
        self._permit.open(request, said)
        if running:
            self._core.start()

    # Requests

    def _serve(self, packet: bytes) -> bytes:
        """The response to one request, whatever the 64 octets are."""
        request_id, operation = peek_request(packet)
        params: HwParams | None = None
        status = Status.OK
        try:
            params = self._handle(decode_request(packet)[1])
        except NothingInCommon:
            status = Status.EINVAL
        except RemoteProtocolError as error:
            status = Status.EINVAL
            self._note_fault(str(error))
        except AccessDenied:
            status = Status.EACCES
        except NotImplementedError:
            status = Status.EOPNOTSUPP
        except (TransportLost, OSError):
            status = Status.EIO
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
                self._state = next_stream_state(self._state, StreamEvent.CLOSE)
                self._close_pcm()
            case TriggerRequest(trigger):
                self._trigger(_TRIGGERS[trigger])
            case Read() | Write():
                raise NotImplementedError  # the core answers these
            case Span():
                if self._audio is None:
                    raise RemoteProtocolError(f"{operation_of(request).name} before OPEN")
                self._audio.loudness.serve(request)
        return None

    def _trigger(self, event: StreamEvent) -> None:
        was_running = self._state is StreamState.RUNNING
        self._state = next_stream_state(self._state, event)
        running = self._state is StreamState.RUNNING
        if self._open is not None:
            self._record.save(self._open, running=running)
        if running:
            self._core.start()
        else:
            self._core.stop()
        if running and not was_running:
            self._permit.use_again()
        if running is not was_running:
            kind = EventKind.STREAM_STARTED if running else EventKind.STREAM_STOPPED
            self._say(kind, f"{self.direction} {self.name} {'started' if running else 'stopped'}")

    def _answer_query(self, asked: HwParams) -> HwParams:
        limits = self._services.limits
        try:
            return answer_within(asked, self._config, limits, self._permit.options)
        except AccessDenied as error:
            self._permit.say_limit(f"refused: {error}")
            raise

    def _open_pcm(self, request: Open) -> None:
        frame_octets = check_open(request, self._config, self._services.limits)
        state = next_stream_state(self._state, StreamEvent.OPEN)
        self._close_pcm()
        self._permit.admit(request)
        self._buffer = map_buffer(self._services.transport, self._guest.domid, request)
        self._core.open_pcm(
            _pcm_config(request, frame_octets),
            self._buffer.address,
        )
        self._record.save(request, running=False)
        self._state = state
        self._open = request
        self._audio = self._new_audio(request)
        self._say(
            EventKind.STREAM_OPENED,
            f"{self.direction} {self.name} opened: {described(request)}",
        )
        self._permit.open(request)

    def _new_audio(self, request: Open) -> ServerStream:
        return ServerStream(self._core, self._client, self.direction, request, self._say)

    def _close_pcm(self) -> None:
        """Ends the open PCM, if there is one. When it returns, the guest may free its pages."""
        if self._open is None:
            return
        stats = self._core.stats()
        self._record.clear()
        if self._audio is not None:
            self._audio.leave()
        self._core.close_pcm()
        if self._buffer is not None:
            self._buffer.close()
        self._buffer = self._open = self._audio = None
        self._options = NO_OPTIONS
        self._state = StreamState.CLOSED
        self._permit.close()
        event = guest_event(
            EventKind.STREAM_CLOSED,
            self._guest.name,
            self._guest.domid,
            f"{self.direction} {self.name} closed: {stats.octets} octets, "
            f"{stats.discarded_octets} on the clock alone, {stats.gaps} gaps",
        )
        event.fields.update(
            XENSND_DIRECTION=self.direction.value,
            XENSND_OCTETS=stats.octets,
            XENSND_DISCARDED_OCTETS=stats.discarded_octets,
            XENSND_GAPS=stats.gaps,
            XENSND_STALLED=stats.stalled,
        )
        self._services.record(event)

    # Permission

    def _apply(self, decision: Decision) -> None:
        """Lets the stream sound within the limits, or leaves it to its clock."""
        self._options = decision.options
        if self._audio is None:
            return
        self._audio.loudness.set_cap(decision.options.max_volume_percent)
        if decision.verb is Verb.ALLOW:
            self._audio.sound(decision.options, self._limits.latency_usec)
        else:
            self._audio.silence()

    @property
    def _limits(self) -> Limits:
        return limits_within(self._services.limits, self._options)

    # Audit

    def _note_fault(self, text: str) -> None:
        self._faults += 1
        if self._faults in {1, FAULTS_MAX}:
            self._say(
                EventKind.PROTOCOL_VIOLATION,
                f"{self.direction} {self.name}: {text}",
                Priority.WARNING,
            )
        if self._faults >= FAULTS_MAX:
            raise RemoteProtocolError(f"stream {self.name}: {self._faults} requests were wrong")

    def _say(
        self, kind: EventKind, text: str, priority: Priority = Priority.INFO, **fields: str
    ) -> None:
        event = guest_event(kind, self._guest.name, self._guest.domid, text, priority)
        event.fields.update(XENSND_DIRECTION=self.direction.value, **fields)
        self._services.record(event)
