"""Whether PipeWire's own protocol can be used here."""

from __future__ import annotations

import os
from pathlib import Path

from ._core import ffi, lib
from .audio_client import text

PIPEWIRE = "pipewire:"
"""What the address of a server begins with that is used by PipeWire's own protocol."""


def pipewire_problem() -> str | None:
    """Return why libpipewire cannot be used. None: it can."""
    error = lib.xn_pipewire_load()
    return None if error == ffi.NULL else text(error)


def pipewire_socket() -> Path:
    """Return where libpipewire looks for the session's server."""
    environment = os.environ
    runtime = environment.get("PIPEWIRE_RUNTIME_DIR") or environment.get("XDG_RUNTIME_DIR") or "/"
    return Path(runtime, environment.get("PIPEWIRE_REMOTE") or "pipewire-0")
