"""The audio server's address, as --server names it.

With `pipewire:` the streams use PipeWire's own protocol. The mixer always uses PulseAudio's, which
PipeWire speaks too: a node has the same index there as it has here.
"""

from __future__ import annotations

import os

PIPEWIRE = "pipewire:"


def mixer_address(server: str | None) -> str | None:
    """Return the address as in PULSE_SERVER; None: that of this session."""
    return None if server is None or server.startswith(PIPEWIRE) else server


def uses_network(server: str | None) -> bool:
    """Return whether one of the addresses is a TCP one."""
    address = mixer_address(server)
    return "tcp" in (os.environ.get("PULSE_SERVER", "") if address is None else address)
