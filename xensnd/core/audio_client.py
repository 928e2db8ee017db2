"""Connections to the audio server, and the settings of streams there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ._core import ffi, lib
from .engine import Engine

VOLUME_NORM = 0x10000  # PA_VOLUME_NORM, 100 %
_MUTE = {None: lib.XN_MUTE_AS_REMEMBERED, False: lib.XN_MUTE_OFF, True: lib.XN_MUTE_ON}


def text(pointer: Any) -> str:
    """Return the text of a C string; of NULL, nothing."""
    return ffi.string(pointer).decode(errors="replace") if pointer else ""


def property_array(properties: Mapping[str, str]) -> tuple[Any, list[Any]]:
    """Return a NULL-terminated array of keys and values, and the objects it points to, which must
    stay alive as long."""
    owned = [ffi.new("char[]", item.encode()) for pair in properties.items() for item in pair]
    return ffi.new("char *[]", [*owned, ffi.NULL]), owned


class ClientState(IntEnum):
    CONNECTING = lib.XN_CLIENT_CONNECTING
    READY = lib.XN_CLIENT_READY
    FAILED = lib.XN_CLIENT_FAILED


class AudioClient:
    """One connection to the audio server: one application in its mixers. Guests may share it.

    `server` is an address as in PULSE_SERVER; None is the session's own server. The core connects
    in the background; the engine wakes Python when `state` changes.
    """

    def __init__(self, engine: Engine, server: str | None, properties: Mapping[str, str]) -> None:
        array, owned = property_array(properties)
        address = ffi.new("char[]", server.encode()) if server else ffi.NULL
        self.handle: Any = lib.xn_client_new(engine.handle, address, array)
        del owned
        if self.handle == ffi.NULL:
            raise MemoryError

    @property
    def state(self) -> ClientState:
        return ClientState(lib.xn_client_state(self.handle))

    @property
    def error(self) -> str:
        return text(lib.xn_client_error(self.handle))

    def close(self) -> None:
        """Disconnect. Close its streams first."""
        if self.handle:
            lib.xn_client_free(self.handle)
            self.handle = None


class Admission(IntEnum):
    ADMITTED = lib.XN_ADMITTED
    NOT_ITS_SOURCE = lib.XN_NOT_ITS_SOURCE  # the stream is connected to another one
    MIXED = lib.XN_MIXED  # with octets of a source that was not admitted: another stream is needed


@dataclass(frozen=True, slots=True)
class AudioStreamConfig:
    """A stream at the audio server. `pulse_format` is PulseAudio's name of the sample format;
    `device` None is the server's default.

    `volume` (a value for each channel, 1 for 100 %) and `muted` are its initial state; None: as the
    server remembers it. libpulse cannot set the initial volume of a recording.
    """

    playback: bool
    name: str
    pulse_format: str
    rate_hz: int
    channels: int
    latency_usec: int
    device: str | None = None
    is_pinned: bool = False  # to its device: the server refuses to move it
    variable_rate: bool = False
    any_source: bool = False  # a recording needs no BackendStream.admit_source()
    volume: tuple[float, ...] | None = None
    muted: bool | None = None
    guest: int = 0  # its domid: what it leaves to a slow server does not count against others
    properties: Mapping[str, str] = field(default_factory=dict)

    def struct(self) -> tuple[Any, list[Any]]:
        """Return the core's struct, and the objects it points to, which must stay alive as long."""
        array, owned = property_array(self.properties)
        name = ffi.new("char[]", self.name.encode())
        pulse_format = ffi.new("char[]", self.pulse_format.encode())
        device = ffi.new("char[]", self.device.encode()) if self.device else ffi.NULL
        volume = ffi.NULL
        if self.volume is not None:
            volume = ffi.new("uint32_t[]", [round(each * VOLUME_NORM) for each in self.volume])
        struct = ffi.new(
            "struct xn_audio_config *",
            {
                "playback": self.playback,
                "name": name,
                "device": device,
                "format": pulse_format,
                "rate_hz": self.rate_hz,
                "channels": self.channels,
                "latency_usec": self.latency_usec,
                "is_pinned": self.is_pinned,
                "variable_rate": self.variable_rate,
                "any_source": self.any_source,
                "volume": volume,
                "mute": _MUTE[self.muted],
                "guest": self.guest,
                "properties": array,
            },
        )
        return struct, [owned, array, name, pulse_format, device, volume]
