"""The backend's side of a sndif stream: see backend.h."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from typing import Any

from ..errors import AudioUnavailable, RemoteProtocolError
from ._core import ffi, lib
from .audio_client import AudioClient, AudioStreamConfig, text
from .budget import Budget
from .engine import ChannelHandle, Engine, channel_struct
from .pcm import PcmParameters
from .sound import BackendStats, SoundHere

REFUSED_MAX = int(lib.XN_REFUSED_MAX)  # READs and WRITEs outside the buffer
PCM_STATE_OCTETS = int(ffi.sizeof("struct xn_pcm"))


class Violation(IntEnum):
    NONE = lib.XN_NO_VIOLATION
    RING_INDEX = lib.XN_VIOLATION_RING_INDEX
    STORM = lib.XN_VIOLATION_STORM
    REFUSED = lib.XN_VIOLATION_REFUSED


class BackendStream(SoundHere):
    """Opening, adopting or closing a PCM closes the gate.

    The pages and channels must stay valid until close(), the PCM's buffer until close_pcm().

    `pcm_address` is memory of PCM_STATE_OCTETS where the core keeps the positions of an open PCM,
    so that another process can adopt the PCM; 0: in private memory. `budget` is the one that all
    streams of the guest share; None: the stream has its own. `served_address` is an aligned word of
    32 bits for the guest, which is 1 while the core serves one of its streams, and 0 otherwise; 0:
    in private memory. `gate_address`: memory of GATE_OCTETS, which a Gate of another process
    shares; 0: in private memory.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        playback: bool,
        ring_address: int,
        event_address: int,
        requests: ChannelHandle,
        events: ChannelHandle,
        pcm_address: int = 0,
        budget: Budget | None = None,
        served_address: int = 0,
        gate_address: int = 0,
    ) -> None:
        self._budget = budget  # the core uses it until close()
        self._buffer_octets = 0
        self.handle: Any = lib.xn_backend_new(
            engine.handle,
            playback,
            ffi.cast("void *", ring_address),
            ffi.cast("void *", event_address),
            channel_struct(requests),
            channel_struct(events),
            ffi.cast("struct xn_pcm *", pcm_address),
            budget.handle if budget is not None else ffi.NULL,
            ffi.cast("uint32_t *", served_address),
            ffi.cast("struct xn_gate *", gate_address),
        )
        if self.handle == ffi.NULL:
            raise MemoryError
        super().__init__(lib.xn_backend_sound(self.handle))

    def begin(self, *, succeeds: bool = False) -> None:
        """Start to serve. `succeeds`: another process served the stream before; adopt the PCM that
        it had open first."""
        lib.xn_backend_begin(self.handle, succeeds)

    @property
    def violation(self) -> Violation:
        return Violation(lib.xn_backend_violation(self.handle))

    def next_request(self) -> bytes | None:
        """Return a copy of the 64 octets of a request that waits for an answer: untrusted."""
        packet = ffi.new("uint8_t[64]")
        return bytes(packet) if lib.xn_backend_next_request(self.handle, packet) else None

    def answer(self, response: bytes) -> None:
        lib.xn_backend_answer(self.handle, response)

    def open_pcm(self, config: PcmParameters, buffer_address: int) -> None:
        self._buffer_octets = config.buffer_octets
        lib.xn_backend_open_pcm(self.handle, config.struct(), ffi.cast("void *", buffer_address))

    def adopt_pcm(self, config: PcmParameters, buffer_address: int) -> bool:
        """Continue from the positions that another process has left. Returns False if they are not
        valid for such a PCM."""
        buffer = ffi.cast("void *", buffer_address)
        self._buffer_octets = config.buffer_octets
        return bool(lib.xn_backend_adopt_pcm(self.handle, config.struct(), buffer))

    def recent(self, octets: int) -> bytes:
        """Return at most so many of the octets that were heard or recorded last: untrusted."""
        end = self.stats().position_octets % self._buffer_octets if self._buffer_octets else 0
        start = max(end - octets, 0)
        return self.peek(start, end - start)

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

    def peek(self, offset: int, octets: int) -> bytes:
        """Return a copy of a part of the PCM's buffer: untrusted."""
        data = ffi.new("uint8_t[]", octets)
        if not lib.xn_backend_peek(self.handle, offset, data, octets):
            raise RemoteProtocolError(f"octets {offset}+{octets} are not in the buffer")
        return bytes(ffi.buffer(data))

    def poke(self, offset: int, data: bytes) -> None:
        """Write into the PCM's buffer."""
        if not lib.xn_backend_poke(self.handle, offset, data, len(data)):
            raise RemoteProtocolError(f"octets {offset}+{len(data)} are not in the buffer")

    def stats(self) -> BackendStats:
        struct = ffi.new("struct xn_backend_stats *")
        lib.xn_backend_stats(self.handle, struct)
        return BackendStats(*(int(getattr(struct, field.name)) for field in fields(BackendStats)))

    def close(self) -> None:
        if self.handle:
            lib.xn_backend_free(self.handle)
            self.handle = self._sound = None
