"""What people are shown of a stream: see docs/control.md."""

from __future__ import annotations

from dataclasses import dataclass

from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.cards.level import peak
from policy.model import Decision, Verb
from xensnd.core import BackendStats, BackendStream
from xensnd.sndif.packets import Open
from xensnd.sndif.states import StreamState
from xensnd.sndif.store_fields import Direction

# How much of a stream its level is read from.
LEVEL_MS = 20


@dataclass(frozen=True, slots=True)
class StreamStatus:
    name: str
    direction: str
    state: str
    sound: str
    decision: str
    source: str
    reason: str
    is_heard: bool  # runs, is allowed and connected with the audio server
    device: str | None  # the sink or source there
    latency_ms: float | None
    level: float
    volume_percent: int | None
    is_muted: bool
    gaps: int


def stream_status(
    name: str,
    direction: Direction,
    state: StreamState,
    opened: Open | None,
    decision: Decision | None,
    core: BackendStream,
    audio: ServerStream | None,
) -> StreamStatus:
    volume_percent, is_muted = audio.loudness.shown if audio else (None, False)
    stats = core.stats()
    running = state is StreamState.RUNNING
    return StreamStatus(
        name=name,
        direction=direction.value,
        state=state.name.lower(),
        sound=described(opened) if opened else "",
        decision=decision.verb.value if decision else "",
        source=decision.source if decision else "",
        reason=decision.reason if decision else "",
        is_heard=is_heard(state, decision, audio),
        device=audio.device.name if audio and audio.device else None,
        latency_ms=_queued_ms(opened, stats) if opened else None,
        level=_level(opened, stats, core) if opened and running else 0.0,
        volume_percent=volume_percent,
        is_muted=is_muted,
        gaps=stats.gaps,
    )


def is_heard(state: StreamState, decision: Decision | None, audio: ServerStream | None) -> bool:
    """Never of a stream that ticks on its clock alone, or records a source that is not for it."""
    allowed = decision is not None and decision.verb is Verb.ALLOW
    is_connected = audio is not None and audio.is_connected
    return allowed and state is StreamState.RUNNING and is_connected


def described(request: Open) -> str:
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


def _level(request: Open, stats: BackendStats, core: BackendStream) -> float:
    """The peak of what has just been heard or captured, from 0 to 1. Looked at on request
    only, in a copy of a few ms."""
    frame_octets = request.channels * (request.sample_format.sample_octets or 1)
    wanted = LEVEL_MS * request.rate_hz // 1000 * frame_octets
    end = stats.position_octets % request.buffer_octets
    start = max(end - wanted, 0)
    return round(peak(request.sample_format, core.peek(start, end - start)), 4)
