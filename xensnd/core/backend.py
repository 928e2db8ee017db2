"""One sndif stream as the backend serves it: see backend.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from ..errors import AudioUnavailable, RemoteProtocolError
from ._core import ffi, lib
from .audio import AudioClient, AudioStreamConfig, text
from .budget import Budget
from .engine import Channel, Engine, channel_struct
from .pcm import PcmConfig

REFUSED_MAX = int(lib.XN_REFUSED_MAX)  # READs and WRITEs outside the buffer
NO_DEADLINE = 2**63 - 1
PCM_STATE_OCTETS = int(ffi.sizeof("struct xn_pcm"))


class Violation(IntEnum):
    NONE = lib.XN_NO_VIOLATION
    RING_INDEX = lib.XN_VIOLATION_RING_INDEX
    STORM = lib.XN_VIOLATION_STORM
    REFUSED = lib.XN_VIOLATION_REFUSED


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Counts since the PCM was opened. For playback `discarded_octets` went with the clock,
    for capture it is silence that was made up."""

    requests: int
    refused: int
    octets: int
    discarded_octets: int
    late_octets: int  # playback: written over when they had been audible
    position_octets: int
    buffered_octets: int
    gaps: int
    stalled: int
    server_latency_usec: int  # -1: not known


class BackendStream:
    """Pages and channels stay valid until close(), the PCM's buffer until close_pcm().

    `pcm_address`: PCM_STATE_OCTETS of memory where an open PCM's positions are kept, so that
    another process can adopt it; 0: nowhere. `budget`: what all streams of the guest share; None:
    the stream has one for itself.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        playback: bool,
        ring_address: int,
        event_address: int,
        requests: Channel,
        events: Channel,
        pcm_address: int = 0,
        budget: Budget | None = None,
    ) -> None:
        self._budget = budget  # the core uses it until close()
        self.handle: Any = lib.xn_backend_new(
            engine.handle,
            playback,
            ffi.cast("void *", ring_address),
            ffi.cast("void *", event_address),
            channel_struct(requests),
            channel_struct(events),
            ffi.cast("struct xn_pcm *", pcm_address),
            budget.handle if budget is not None else ffi.NULL,
        )
        if self.handle == ffi.NULL:
            raise MemoryError

    def begin(self, *, succeeds: bool = False) -> None:
        """Serves from now on. `succeeds`: another process did before; what it had open was
        adopted already."""
        lib.xn_backend_begin(self.handle, succeeds)

    @property
    def violation(self) -> Violation:
        return Violation(lib.xn_backend_violation(self.handle))

    def next_request(self) -> bytes | None:
        """A copy of the 64 octets that wait for a decision: untrusted."""
        packet = ffi.new("uint8_t[64]")
        return bytes(packet) if lib.xn_backend_next_request(self.handle, packet) else None

    def answer(self, response: bytes) -> None:
        lib.xn_backend_answer(self.handle, response)

    def open_pcm(self, config: PcmConfig, buffer_address: int) -> None:
        lib.xn_backend_open_pcm(self.handle, config.struct(), ffi.cast("void *", buffer_address))

    def adopt_pcm(self, config: PcmConfig, buffer_address: int) -> bool:
        """Goes on where another process left off; False: what it left is no such PCM."""
        buffer = ffi.cast("void *", buffer_address)
        return bool(lib.xn_backend_adopt_pcm(self.handle, config.struct(), buffer))

    def close_pcm(self) -> None:
        lib.xn_backend_close_pcm(self.handle)

    def start(self) -> None:
        lib.xn_backend_start(self.handle)

    def stop(self) -> None:
        lib.xn_backend_stop(self.handle)

    def attach_audio(self, client: AudioClient, config: AudioStreamConfig) -> None:
        struct, owned = config.struct()
        error = ffi.new("const char **")
        if not lib.xn_backend_attach_audio(self.handle, client.handle, struct, error):
            raise AudioUnavailable(text(error[0]))
        del owned

    def detach_audio(self) -> None:
        lib.xn_backend_detach_audio(self.handle)

    def open_gate(self, until_usec: int | None = None) -> None:
        """Lets the microphone into the guest's buffer: until then, in microseconds of
        time.monotonic(), or until close_gate(). The engine minds the time itself.

        The gate is closed when a PCM is opened, adopted or closed. Playback has no use for it.
        """
        until = NO_DEADLINE if until_usec is None else max(0, min(until_usec, NO_DEADLINE))
        lib.xn_backend_open_gate(self.handle, until)

    def close_gate(self) -> None:
        """Silence from now on: when this returns, nothing of the microphone crosses. Does not wait
        for the engine's lock."""
        lib.xn_backend_close_gate(self.handle)

    def peek(self, offset: int, octets: int) -> bytes:
        """A copy out of the PCM's buffer: untrusted."""
        data = ffi.new("uint8_t[]", octets)
        if not lib.xn_backend_peek(self.handle, offset, data, octets):
            raise RemoteProtocolError(f"octets {offset}+{octets} are not in the buffer")
        return bytes(ffi.buffer(data))

    def poke(self, offset: int, data: bytes) -> None:
        if not lib.xn_backend_poke(self.handle, offset, data, len(data)):
            raise RemoteProtocolError(f"octets {offset}+{len(data)} are not in the buffer")

    def set_volume(self, milli_db: Sequence[int], muted: Sequence[bool]) -> None:
        """A value for each channel, at most 0 dB; nothing happens while there is no audio."""
        lib.xn_backend_set_volume(self.handle, list(milli_db), list(map(bool, muted)))

    def set_mute(self, muted: bool) -> None:
        """All channels at once; the volume stays."""
        lib.xn_backend_set_mute(self.handle, muted)

    def set_volume_cap(self, percent: int | None) -> None:
        """No channel is louder than this from now on, in percent as mixers show it."""
        lib.xn_backend_set_volume_cap(self.handle, percent or 0)

    def volume(self, channels: int) -> tuple[int, ...] | None:
        """Each channel's, in 0.001 dB, as the mixer has it; None: not known."""
        values = ffi.new("int32_t[]", channels)
        return tuple(values) if lib.xn_backend_get_volume(self.handle, values) else None

    @property
    def is_muted(self) -> bool:
        """All channels, in the mixer."""
        return bool(lib.xn_backend_is_muted(self.handle))

    @property
    def audio_error(self) -> str | None:
        """Why the stream at the audio server failed; None: it did not."""
        error = ffi.new("const char **")
        return text(error[0]) if lib.xn_backend_audio_failed(self.handle, error) else None

    @property
    def audio_index(self) -> int | None:
        """The server's number of the sink input or source output."""
        index = int(lib.xn_backend_audio_index(self.handle))
        return None if index == 0xFFFFFFFF else index

    def stats(self) -> BackendStats:
        struct = ffi.new("struct xn_backend_stats *")
        lib.xn_backend_stats(self.handle, struct)
        return BackendStats(*(int(getattr(struct, field.name)) for field in fields(BackendStats)))

    def close(self) -> None:
        if self.handle:
            lib.xn_backend_free(self.handle)
            self.handle = None
