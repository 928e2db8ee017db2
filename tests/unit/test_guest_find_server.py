"""Which audio server of the guest `serve` uses."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent_guest import find_server, pulse_devices
from agent_guest.devices import GuestDevices
from agent_guest.find_server import open_devices
from agent_guest.pipewire_devices import PipeWireDevices
from agent_guest.pulse_devices import PulseDevices
from xensnd.core import Engine
from xensnd.errors import AudioUnavailable, UsageError


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A session with PipeWire's socket and library, in which no PulseAudio server answers."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("PIPEWIRE_RUNTIME_DIR", "PIPEWIRE_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pipewire-0").touch()
    monkeypatch.setattr(find_server, "pipewire_problem", lambda: None)
    monkeypatch.setattr(pulse_devices, "server_name", lambda: None)
    return tmp_path


def opened(address: str | None = None) -> GuestDevices:
    async def open_them() -> GuestDevices:
        with closing(Engine()) as engine:
            return open_devices(address, engine, latency_usec=10000)

    return asyncio.run(open_them())


@pytest.mark.parametrize("name", [None, "PulseAudio (on PipeWire 0.3.65)"])
def test_pipewire_that_serves_the_session_is_used_by_its_own_protocol(
    monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(pulse_devices, "server_name", lambda: name)
    assert isinstance(opened(), PipeWireDevices)


def test_pulseaudio_is_used_though_pipewire_runs_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse_devices, "server_name", lambda: "pulseaudio")
    assert isinstance(opened(), PulseDevices)


def test_without_pipewires_socket_pulseaudio_is_used(session: Path) -> None:
    (session / "pipewire-0").unlink()
    assert isinstance(opened(), PulseDevices)


def test_without_libpipewire_pulseaudio_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_server, "pipewire_problem", lambda: "no such file")
    assert isinstance(opened(), PulseDevices)


def test_address_says_which_protocol_is_used(session: Path) -> None:
    assert isinstance(opened("unix:/run/pulse/native"), PulseDevices)
    (session / "pipewire-0").unlink()
    assert isinstance(opened("pipewire:"), PipeWireDevices)


@pytest.fixture
def without_pulsectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulsectl", None)
    monkeypatch.delitem(sys.modules, "agent_guest.pulse_devices")


@pytest.mark.usefixtures("without_pulsectl")
def test_pipewire_needs_no_pulsectl() -> None:
    assert isinstance(opened(), PipeWireDevices)


@pytest.mark.usefixtures("without_pulsectl")
def test_without_pulsectl_pipewire_is_waited_for(session: Path) -> None:
    (session / "pipewire-0").unlink()
    with pytest.raises(AudioUnavailable) as raised:
        opened()
    assert str(raised.value) == (
        f"no PipeWire is there ({session}/pipewire-0), and for PulseAudio python3-pulsectl is "
        "missing"
    )


@pytest.mark.usefixtures("without_pulsectl")
def test_without_pulsectl_pulseaudio_cannot_be_used() -> None:
    with pytest.raises(UsageError) as raised:
        opened("unix:/run/pulse/native")
    assert str(raised.value) == (
        "import of pulsectl halted; None in sys.modules; "
        "with PulseAudio `serve` needs python3-pulsectl: install it"
    )
