"""One stream of a guest's card: its requests, and whether it may sound.

Samples never come here; xensnd.core moves them. What comes here is what changes the stream:
OPEN, CLOSE, TRIGGER, HW_PARAM_QUERY.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from policy.model import Decision, Verb
from xensnd.core import (
    AudioClient,
    BackendStats,
    BackendStream,
    Engine,
    PcmConfig,
    Violation,
    walk_directory,
)
from xensnd.errors import AccessDenied, RemoteProtocolError, TransportLost
from xensnd.sndif.layout import buffer_pages
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
from xensnd.sndif.params import HwParams
from xensnd.sndif.states import StreamEvent, StreamState, next_stream_state
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.interface import EventChannel, Pages, Transport

from .events import Event, EventKind, Priority, decision_event, guest_event
from .level import peak
from .limits import Limits, answer_query, check_open
from .loudness import Loudness
from .mixer import Guest, GuestMixer, stream_config
from .permission import Permission
from .record import StreamRecord

# A guest may get this many requests wrong while its device is connected; then it is closed.
FAULTS_MAX = 64

# ALSA asks some hundred times what a stream can be when one is opened.
REQUESTS_A_SECOND = 500
THROTTLE_SECONDS = 0.1

# How much of a stream its level is read from.
LEVEL_MS = 20

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


@dataclass(frozen=True, slots=True)
class Services:
    """What every device and stream of the agent shares."""

    transport: Transport
    engine: Engine
    permission: Permission
    record: Callable[[Event], bool]
    limits: Limits
    look_again: Callable[[], None]  # as if something had happened in the engine


@dataclass(frozen=True, slots=True)
class Connection:
    """A stream's two pages and two event channels, mapped and bound."""

    ring: Pages
    event_page: Pages
    requests: EventChannel
    events: EventChannel

    def close(self) -> None:
        self.requests.close()
        self.events.close()
        self.ring.close()
        self.event_page.close()


def connect(transport: Transport, domid: int, rings: StreamRings) -> Connection:
    """All four, or RemoteProtocolError and none."""
    opened: list[Pages | EventChannel] = []
    try:
        ring = transport.map_pages(domid, [rings.ring_ref], writable=True)
        opened.append(ring)
        event_page = transport.map_pages(domid, [rings.evt_ring_ref], writable=True)
        opened.append(event_page)
        requests = transport.bind_channel(domid, rings.event_channel)
        opened.append(requests)
        events = transport.bind_channel(domid, rings.evt_event_channel)
    except BaseException:
        for each in opened:
            each.close()
        raise
    return Connection(ring, event_page, requests, events)


def _pcm_config(request: Open, frame_octets: int) -> PcmConfig:
    return PcmConfig(
        rate_hz=request.rate_hz,
        frame_octets=frame_octets,
        buffer_octets=request.buffer_octets,
        period_octets=request.period_octets,
        silence_octet=request.sample_format.silence[0],
    )


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What people are shown of a stream: see docs/control.md."""

    name: str
    direction: str
    state: str
    sound: str
    decision: str
    source: str
    reason: str
    is_heard: bool  # connected with the audio server, not on its clock alone
    latency_ms: float | None
    level: float
    gaps: int


def _described(request: Open) -> str:
    return (
        f"{request.sample_format.wire_name} {request.rate_hz} Hz, {request.channels} channels, "
        f"buffer {request.buffer_octets} octets"
    )


def _queued_ms(request: Open, stats: BackendStats) -> float | None:
    """From the guest's last write to the ear; None while the audio server does not say."""
    if stats.server_latency_usec < 0:
        return None
    frame_octets = request.channels * (request.sample_format.sample_octets or 1)
    buffered_ms = stats.buffered_octets / frame_octets / request.rate_hz * 1000
    return round(buffered_ms + stats.server_latency_usec / 1000, 1)


class Stream:
    """`name` is where it stands in the card, such as "0/1"."""

    def __init__(
        self,
        services: Services,
        guest: Guest,
        mixer: GuestMixer,
        name: str,
        config: StreamConfig,
        rings: StreamRings,
        record: StreamRecord,
    ) -> None:
        self.name = name
        self.direction = config.direction
        self._services = services
        self._guest = guest
        self._mixer = mixer
        self._config = config
        self._state = StreamState.CLOSED
        self._open: Open | None = None
        self._decision: Decision | None = None
        self._buffer: Pages | None = None
        self._loudness: Loudness | None = None
        self._faults = 0
        self._second = 0.0  # when the present one began, for _asks_too_often()
        self._asked = 0
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

    def look(self) -> None:
        """Serves the request that waits, if one does. RemoteProtocolError: close the session."""
        violation = self._core.violation
        if violation is not Violation.NONE:
            raise RemoteProtocolError(f"stream {self.name}: {_VIOLATIONS[violation]}")
        packet = self._core.next_request()
        if packet is None:
            return
        if self._asks_too_often():
            asyncio.get_running_loop().call_later(THROTTLE_SECONDS, self._services.look_again)
            return
        self._core.answer(self._serve(packet))

    def _asks_too_often(self) -> bool:
        """Samples do not come here, so no guest has a reason to. It only waits for its answer."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._asked = now, 0
        self._asked += 1
        return self._asked > REQUESTS_A_SECOND

    def follow_policy(self) -> None:
        """Policy, or the audit trail, changed: an open stream is decided anew."""
        if self._open is None:
            return
        before = self._decision
        decision = self._decide()
        if before is None or before.verb is not decision.verb:
            self._apply(decision)

    def status(self) -> StreamStatus:
        stats = self._core.stats()
        opened, decision = self._open, self._decision
        return StreamStatus(
            name=self.name,
            direction=self.direction.value,
            state=self._state.name.lower(),
            sound=_described(opened) if opened else "",
            decision=decision.verb.value if decision else "",
            source=decision.source if decision else "",
            reason=decision.reason if decision else "",
            is_heard=self._state is StreamState.RUNNING and self._core.audio_index is not None,
            latency_ms=_queued_ms(opened, stats) if opened else None,
            level=self._level(opened, stats) if opened else 0.0,
            gaps=stats.gaps,
        )

    def _level(self, opened: Open, stats: BackendStats) -> float:
        """The peak of what has just been heard or captured, from 0 to 1. Looked at on request
        only, in a copy of a few ms."""
        frame_octets = opened.channels * (opened.sample_format.sample_octets or 1)
        wanted = LEVEL_MS * opened.rate_hz // 1000 * frame_octets
        end = stats.position_octets % opened.buffer_octets
        start = max(end - wanted, 0)
        if self._state is not StreamState.RUNNING:
            return 0.0
        return peak(opened.sample_format, self._core.peek(start, end - start))

    def close(self) -> None:
        self._close_pcm()
        self._core.close()
        self._record.close(keep=False)
        self._connection.close()

    def leave(self) -> None:
        """Ends here, not for the guest: the next agent takes the stream over where it stands."""
        self._mixer.leave(self)
        self._core.close()
        self._record.close(keep=True)
        if self._buffer is not None:
            self._buffer.close()
        self._connection.close()

    def begin(self, *, adopt: bool) -> None:
        """Serves from now on. `adopt`: its frontend was connected to an agent before us."""
        if adopt:
            self._adopt()
        self._core.begin(succeeds=adopt)

    def _adopt(self) -> None:
        """Takes over what an agent before us had open."""
        recorded = self._record.load()
        if recorded is None:
            return
        request, running = recorded
        try:
            frame_octets = check_open(request, self._config, self._services.limits)
            self._buffer = self._map_buffer(request)
        except (RemoteProtocolError, TransportLost):
            # The guest gave up meanwhile, and its pages are its own again.
            self._record.clear()
            return
        if not self._core.adopt_pcm(_pcm_config(request, frame_octets), self._buffer.address):
            self._buffer.close()
            self._buffer = None
            self._record.clear()
            return
        self._open = request
        self._loudness = Loudness(self._core, request.channels)
        self._state = StreamState.RUNNING if running else StreamState.PREPARED
        self._say(EventKind.STREAM_TAKEN_OVER, f"{self.direction} {self.name} taken over")
        self._apply(self._decide())
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
        match request:
            case HwParamQuery(params):
                return answer_query(params, self._config, self._services.limits)
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
                if self._loudness is None:
                    raise RemoteProtocolError(f"{operation_of(request).name} before OPEN")
                self._loudness.serve(request)
        return None

    def _trigger(self, event: StreamEvent) -> None:
        self._state = next_stream_state(self._state, event)
        running = self._state is StreamState.RUNNING
        if self._open is not None:
            self._record.save(self._open, running=running)
        if running:
            self._core.start()
        else:
            self._core.stop()

    def _open_pcm(self, request: Open) -> None:
        frame_octets = check_open(request, self._config, self._services.limits)
        state = next_stream_state(self._state, StreamEvent.OPEN)
        self._close_pcm()
        self._buffer = self._map_buffer(request)
        self._core.open_pcm(
            _pcm_config(request, frame_octets),
            self._buffer.address,
        )
        self._record.save(request, running=False)
        self._state = state
        self._open = request
        self._loudness = Loudness(self._core, request.channels)
        self._say(
            EventKind.STREAM_OPENED,
            f"{self.direction} {self.name} opened: {_described(request)}",
        )
        self._apply(self._decide())

    def _map_buffer(self, request: Open) -> Pages:
        transport, domid = self._services.transport, self._guest.domid

        @contextmanager
        def map_page(ref: int) -> Iterator[int]:
            page = transport.map_pages(domid, [ref], writable=False)
            try:
                yield page.address
            finally:
                page.close()

        count = buffer_pages(request.buffer_octets)
        refs = walk_directory(map_page, request.directory_ref, count)
        # Written by us: what is recorded, and the answer to GET_VOLUME.
        return transport.map_pages(domid, refs, writable=True)

    def _close_pcm(self) -> None:
        """Ends the open PCM, if there is one. When it returns, the guest may free its pages."""
        if self._open is None:
            return
        stats = self._core.stats()
        self._record.clear()
        self._mixer.leave(self)
        self._core.close_pcm()
        if self._buffer is not None:
            self._buffer.close()
        self._buffer = self._open = self._decision = self._loudness = None
        self._state = StreamState.CLOSED
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

    def _decide(self) -> Decision:
        return self._services.permission.decide(self._guest.name, self.direction)

    def _apply(self, decision: Decision) -> None:
        """Lets the stream sound, or leaves it to its clock; and says so in the audit trail."""
        kept = self._services.record(
            decision_event(self._guest.name, self._guest.domid, self.direction, decision)
        )
        if not kept and self.direction is Direction.CAPTURE:
            decision = Decision(Verb.DENY, None, "the audit trail cannot be written")
        self._decision = decision
        if decision.verb is Verb.ALLOW:
            self._mixer.join(self)
        else:
            self._mixer.leave(self)
            self._core.detach_audio()

    # What the mixer asks of it

    def attach(self, client: AudioClient) -> None:
        if self._open is None:
            return
        self._core.attach_audio(
            client,
            stream_config(
                self._guest,
                playback=self.direction is Direction.PLAYBACK,
                pulse_format=self._open.sample_format.pulse_name or "",
                rate_hz=self._open.rate_hz,
                channels=self._open.channels,
                latency_usec=self._services.limits.latency_usec,
            ),
        )
        if self._loudness is not None:
            self._loudness.apply_again()

    def detach(self) -> None:
        self._core.detach_audio()

    @property
    def audio_error(self) -> str | None:
        return self._core.audio_error

    @property
    def audio_is_ready(self) -> bool:
        return self._core.audio_index is not None

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

    def _say(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None:
        self._services.record(
            guest_event(kind, self._guest.name, self._guest.domid, text, priority)
        )
