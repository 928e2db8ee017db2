"""The status of a stream, as docs/control.md describes it."""

from __future__ import annotations

from dataclasses import dataclass

from agent_dom0.parameters import SoundParameters
from agent_dom0.streams.level import peak
from agent_dom0.streams.open_pcm import OpenPcm
from xensnd.core import BackendStats, SoundCore
from xensnd.sndif.store_fields import Direction

# The level is computed from the last part of a stream, of this length.
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
    problem: str | None  # why it is allowed and not connected
    device: str | None  # the sink or source there
    latency_ms: float | None
    level: float
    volume_percent: int | None
    is_muted: bool
    gaps: int
    late_octets: int


def stream_status(name: str, direction: Direction, pcm: OpenPcm, core: SoundCore) -> StreamStatus:
    volume_percent, is_muted = pcm.audio.volume.shown
    stats = core.stats()
    return StreamStatus(
        name=name,
        direction=direction.value,
        state=pcm.state.name.lower(),
        sound=described(pcm.parameters),
        decision=pcm.decision.verb.value,
        source=pcm.decision.source,
        reason=pcm.decision.reason,
        is_heard=pcm.is_heard,
        problem=pcm.audio.why_silent if pcm.is_allowed else None,
        device=None if pcm.audio.device is None else pcm.audio.device.name,
        latency_ms=_queued_ms(pcm.parameters, stats),
        level=_level(pcm.parameters, core) if pcm.is_running else 0.0,
        volume_percent=volume_percent,
        is_muted=is_muted,
        gaps=stats.gaps,
        late_octets=stats.late_octets,
    )


def described(parameters: SoundParameters) -> str:
    return (
        f"{parameters.sample_format.wire_name} {parameters.rate_hz} Hz, "
        f"{parameters.channels} channels, buffer {parameters.buffer_octets} octets"
    )


def _queued_ms(parameters: SoundParameters, stats: BackendStats) -> float | None:
    """Return the time from the guest's last write until it is heard; None: not known."""
    if stats.server_latency_usec < 0:
        return None
    buffered_ms = stats.buffered_octets / parameters.frame_octets / parameters.rate_hz * 1000
    return round(buffered_ms + stats.server_latency_usec / 1000, 1)


def _level(parameters: SoundParameters, core: SoundCore) -> float:
    """Return the peak of the last few ms that were heard or recorded, from 0 to 1."""
    octets = LEVEL_MS * parameters.rate_hz // 1000 * parameters.frame_octets
    return round(peak(parameters.sample_format, core.recent(octets)), 4)
