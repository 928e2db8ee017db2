"""The frontend's side of a sndif stream: see frontend.h."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import AudioUnavailable, LocalProtocolError
from ._core import ffi, lib
from .audio_client import AudioClient, AudioStreamConfig, text
from .device import GraphDevice
from .engine import ChannelHandle, Engine, channel_struct
from .pcm import PcmParameters


@dataclass(frozen=True, slots=True)
class FrontendStats:
    position_octets: int
    moved_octets: int
    lost_octets: int
    refused: int
    fill_octets: int
    rate_hz: int


class FrontendStream:
    """The pages and channels must stay valid until close(), the PCM's buffer until close_pcm().

    `in_place`: the backend writes what was recorded into the buffer before it tells the position.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        playback: bool,
        in_place: bool = False,
        ring_address: int,
        event_address: int,
        requests: ChannelHandle,
        events: ChannelHandle,
    ) -> None:
        self.handle: Any = lib.xn_frontend_new(
            engine.handle,
            playback,
            in_place,
            ffi.cast("void *", ring_address),
            ffi.cast("void *", event_address),
            channel_struct(requests),
            channel_struct(events),
        )
        if self.handle == ffi.NULL:
            raise MemoryError

    @property
    def is_broken(self) -> bool:
        """Whether the backend has broken a rule of the ring or the event page."""
        return bool(lib.xn_frontend_is_broken(self.handle))

    def request(self, packet: bytes) -> None:
        """Send a control request of 64 octets. The core sets its id."""
        if lib.xn_frontend_request(self.handle, packet) != 0:
            raise LocalProtocolError("a control request is under way already")

    def response(self) -> bytes | None:
        """Return the answer to the control request, once. None: there is none yet."""
        packet = ffi.new("uint8_t[64]")
        return bytes(packet) if lib.xn_frontend_response(self.handle, packet) else None

    def open_pcm(self, config: PcmParameters, buffer_address: int) -> None:
        lib.xn_frontend_open_pcm(self.handle, config.struct(), ffi.cast("void *", buffer_address))

    def close_pcm(self) -> None:
        lib.xn_frontend_close_pcm(self.handle)

    def set_running(self, running: bool) -> None:
        lib.xn_frontend_set_running(self.handle, running)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Copy as many whole frames as there is room for. Returns the number of octets."""
        view = memoryview(data)
        return int(lib.xn_frontend_write(self.handle, ffi.from_buffer(view), view.nbytes))

    def read(self, octets: int) -> bytes:
        """Return captured samples, in whole frames, at most so many octets."""
        data = ffi.new("uint8_t[]", octets)
        return bytes(ffi.buffer(data, int(lib.xn_frontend_read(self.handle, data, octets))))

    def scratch(self, octets: int) -> int | None:
        """Return the offset of a part of the buffer that holds no samples. None: there is none."""
        offset = int(lib.xn_frontend_scratch(self.handle, octets))
        return offset if offset >= 0 else None

    def await_room(self, octets: int) -> None:
        """Let the engine wake Python once, when so many octets can be written."""
        lib.xn_frontend_await_room(self.handle, octets)

    def await_fill(self, octets: int) -> None:
        """Let the engine wake Python once, when so many octets are written and not played, or
        captured and not read."""
        lib.xn_frontend_await_fill(self.handle, octets)

    def await_position(self, position_octets: int) -> None:
        """Let the engine wake Python once, when the backend has reached this position."""
        lib.xn_frontend_await_position(self.handle, position_octets)

    def attach_audio(
        self, client: AudioClient, config: AudioStreamConfig, *, target_fill_octets: int
    ) -> None:
        struct, owned = config.struct()
        error = ffi.new("const char **")
        if not lib.xn_frontend_attach_audio(
            self.handle, client.handle, struct, target_fill_octets, error
        ):
            raise AudioUnavailable(text(error[0]))
        del owned

    def attach_device(self, device: GraphDevice, *, target_fill_octets: int) -> None:
        lib.xn_frontend_attach_device(self.handle, device.handle, target_fill_octets)

    def detach_audio(self) -> None:
        lib.xn_frontend_detach_audio(self.handle)

    @property
    def audio_error(self) -> str | None:
        error = ffi.new("const char **")
        return text(error[0]) if lib.xn_frontend_audio_failed(self.handle, error) else None

    def stats(self) -> FrontendStats:
        struct = ffi.new("struct xn_frontend_stats *")
        lib.xn_frontend_stats(self.handle, struct)
        return FrontendStats(*(int(getattr(struct, field.name)) for field in fields(FrontendStats)))

    def close(self) -> None:
        if self.handle:
            lib.xn_frontend_free(self.handle)
            self.handle = None
