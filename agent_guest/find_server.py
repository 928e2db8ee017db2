"""Which audio server of the guest `serve` uses, and by which protocol."""

from __future__ import annotations

from agent_guest.devices import GuestDevices
from agent_guest.pipewire_devices import PipeWireDevices
from xensnd.core import PIPEWIRE, Engine, pipewire_problem, pipewire_socket
from xensnd.errors import AudioUnavailable, UsageError


def open_devices(address: str | None, engine: Engine, latency_usec: int) -> GuestDevices:
    """`address` None: whichever serves this session. UsageError: a package is missing.
    AudioUnavailable: no server is there."""
    if address is None and _is_pipewires():
        address = PIPEWIRE
    if address is not None and address.startswith(PIPEWIRE):
        return PipeWireDevices(address, engine, latency_usec)
    try:
        from agent_guest.pulse_devices import (  # noqa: PLC0415  (PipeWire needs no pulsectl)
            PulseDevices,
        )
    except ImportError as error:
        if address is None and pipewire_problem() is None:
            raise AudioUnavailable(
                f"no PipeWire is there ({pipewire_socket()}), and for PulseAudio python3-pulsectl "
                "is missing"
            ) from None
        raise UsageError(
            f"{error}; with PulseAudio `serve` needs python3-pulsectl: install it"
        ) from None
    return PulseDevices(address, engine, latency_usec)


def _is_pipewires() -> bool:
    """Whether PipeWire serves this session's sound. PipeWire may also run beside PulseAudio, for
    cameras and screens alone; then PulseAudio answers by its own name."""
    if pipewire_problem() is not None or not pipewire_socket().exists():
        return False
    try:
        from agent_guest.pulse_devices import server_name  # noqa: PLC0415
    except ImportError:
        return True
    name = server_name()
    return name is None or "PipeWire" in name
