"""The audio server's address, as --server names it.

With `pipewire:` the streams use PipeWire's own protocol. The mixer always uses PulseAudio's, which
PipeWire speaks too: a node has the same index there as it has here.
"""

from __future__ import annotations

import os
from pathlib import Path

from xensnd.core import PIPEWIRE, pipewire_problem, pipewire_socket


def find_server(server: str | None) -> str | None:
    """Return the address for `server`. None stands for this session's server: it is `pipewire:` if
    PipeWire is there and PulseAudio's protocol, which the mixer needs, is not."""
    if server is not None or os.environ.get("PULSE_SERVER") or _pulse_socket().exists():
        return server
    has_pipewire = pipewire_socket().exists() and pipewire_problem() is None
    return PIPEWIRE if has_pipewire else None


def _pulse_socket() -> Path:
    """Where libpulse looks for the session's server."""
    own = os.environ.get("PULSE_RUNTIME_PATH")
    return Path(own or Path(os.environ.get("XDG_RUNTIME_DIR") or "/", "pulse"), "native")


def mixer_address(server: str | None) -> str | None:
    """Return the address as in PULSE_SERVER; None: that of this session."""
    return None if server is None or server.startswith(PIPEWIRE) else server


def uses_network(server: str | None) -> bool:
    """Return whether one of the addresses is a TCP one."""
    address = mixer_address(server)
    return "tcp" in (os.environ.get("PULSE_SERVER", "") if address is None else address)
