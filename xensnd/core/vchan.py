"""The core's part of one direction of a guest's sound over vchan: see vchan_stream.h."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from ..errors import AudioUnavailable
from ._core import ffi, lib
from .audio_client import AudioClient, AudioStreamConfig, text
from .backend import Violation
from .budget import Budget
from .engine import ChannelHandle, Engine, channel_struct
from .sound import BackendStats, SoundHere

VCHAN_GIVEN_OCTETS = int(ffi.sizeof("struct xn_vchan_given"))


class RingMemory(NamedTuple):
    address: int
    octets: int  # a power of two


class VchanCore(SoundHere):
    """The page, the rings and the channel must stay valid until close().

    `given_address` is memory of VCHAN_GIVEN_OCTETS where the core keeps what it gave to the audio
    server last, so that another process can give it again; 0: in private memory. `budget`,
    `served_address` and `gate_address`: see BackendStream.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        playback: bool,
        page_address: int,
        left: RingMemory,
        right: RingMemory,
        channel: ChannelHandle,
        given_address: int = 0,
        budget: Budget | None = None,
        served_address: int = 0,
        gate_address: int = 0,
    ) -> None:
        self._budget = budget  # the core uses it until close()
        vchan = ffi.new("struct xn_vchan *")
        lib.xn_vchan_attach(
            vchan,
            ffi.cast("void *", page_address),
            ffi.cast("void *", left.address),
            left.octets,
            ffi.cast("void *", right.address),
            right.octets,
        )
        self.handle: Any = lib.xn_vchan_stream_new(
            engine.handle,
            playback,
            vchan,
            channel_struct(channel),
            ffi.cast("struct xn_vchan_given *", given_address),
            budget.handle if budget is not None else ffi.NULL,
            ffi.cast("uint32_t *", served_address),
            ffi.cast("struct xn_gate *", gate_address),
        )
        if self.handle == ffi.NULL:
            raise MemoryError
        super().__init__(lib.xn_vchan_stream_sound(self.handle))

    def begin(self, *, succeeds: bool = False) -> None:
        """Connect to the guest, and begin to serve it. `succeeds`: another process was its client
        before."""
        lib.xn_vchan_stream_begin(self.handle, succeeds)

    @property
    def is_open(self) -> bool:
        """Whether the guest's end is there."""
        return bool(lib.xn_vchan_stream_is_open(self.handle))

    @property
    def violation(self) -> Violation:
        return Violation(lib.xn_vchan_stream_violation(self.handle))

    def next_word(self) -> int | None:
        """Return the control word that waits: untrusted. It waits until drop_word()."""
        word = ffi.new("uint32_t *")
        return int(word[0]) if lib.xn_vchan_stream_next_word(self.handle, word) else None

    def drop_word(self) -> None:
        lib.xn_vchan_stream_drop_word(self.handle)

    def reset(self) -> None:
        """Stop, and count anew, with a closed gate."""
        lib.xn_vchan_stream_reset(self.handle)

    def start(self) -> None:
        lib.xn_vchan_stream_start(self.handle)

    def stop(self) -> None:
        """Leave playback in the guest's ring, and record nothing."""
        lib.xn_vchan_stream_stop(self.handle)

    def attach_audio(self, client: AudioClient, config: AudioStreamConfig) -> None:
        struct, owned = config.struct()
        error = ffi.new("const char **")
        if not lib.xn_vchan_stream_attach_audio(self.handle, client.handle, struct, error):
            raise AudioUnavailable(text(error[0]))
        del owned

    def detach_audio(self) -> None:
        lib.xn_vchan_stream_detach_audio(self.handle)

    def recent(self, octets: int) -> bytes:
        data = ffi.new("uint8_t[]", octets)
        count = lib.xn_vchan_stream_recent(self.handle, data, octets)
        return bytes(ffi.buffer(data, count))

    def stats(self) -> BackendStats:
        struct = ffi.new("struct xn_backend_stats *")
        lib.xn_vchan_stream_stats(self.handle, struct)
        return BackendStats(*(int(getattr(struct, field.name)) for field in fields(BackendStats)))

    def close(self) -> None:
        """End, and tell the guest that its client has gone."""
        if self.handle:
            lib.xn_vchan_stream_free(self.handle)
            self.handle = self._sound = None

    def hand_over(self) -> None:
        """End without telling the guest: another process goes on as its client."""
        if self.handle:
            lib.xn_vchan_stream_hand_over(self.handle)
            self.handle = self._sound = None
