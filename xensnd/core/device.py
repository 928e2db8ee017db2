"""A sink or a source of the guest's PipeWire: see pipewire_device.h."""

from __future__ import annotations

from typing import Any

from ..errors import AudioUnavailable
from ._core import ffi, lib
from .audio_client import AudioClient, AudioStreamConfig, text


class GraphDevice:
    """A node of its own in PipeWire's graph. Connect no stream with it any more before close()."""

    def __init__(self, client: AudioClient, config: AudioStreamConfig) -> None:
        """AudioUnavailable: the server can have no such node."""
        struct, owned = config.struct()
        error = ffi.new("const char **")
        self.handle: Any = lib.xn_device_new(client.handle, struct, error)
        del owned
        if self.handle == ffi.NULL:
            raise AudioUnavailable(text(error[0]))

    @property
    def is_used(self) -> bool:
        """Whether an application plays into it, or records from it."""
        return bool(lib.xn_device_is_used(self.handle))

    @property
    def error(self) -> str | None:
        """Why the server has ended it. None: it is there, or is being made."""
        error = ffi.new("const char **")
        return text(error[0]) if lib.xn_device_failed(self.handle, error) else None

    def close(self) -> None:
        if self.handle:
            lib.xn_device_free(self.handle)
            self.handle = None
