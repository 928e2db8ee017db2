"""Which audio server the agent uses if --server names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_dom0.audio import address
from agent_dom0.audio.address import find_server


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A session with PipeWire's socket and library, and without PulseAudio's socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("PULSE_SERVER", "PULSE_RUNTIME_PATH", "PIPEWIRE_RUNTIME_DIR", "PIPEWIRE_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pipewire-0").touch()
    monkeypatch.setattr(address, "pipewire_problem", lambda: None)
    return tmp_path


def test_pipewire_alone_is_used_by_its_own_protocol() -> None:
    assert find_server(None) == "pipewire:"


def test_pulseaudios_protocol_is_used_where_it_is_spoken(session: Path) -> None:
    (session / "pulse").mkdir()
    (session / "pulse" / "native").touch()
    assert find_server(None) is None


def test_pulse_server_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSE_SERVER", "unix:/run/elsewhere")
    assert find_server(None) is None


def test_without_pipewires_socket_pulseaudio_is_waited_for(session: Path) -> None:
    (session / "pipewire-0").unlink()
    assert find_server(None) is None


def test_without_libpipewire_pulseaudio_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "pipewire_problem", lambda: "no such file")
    assert find_server(None) is None


def test_server_that_was_named_is_used() -> None:
    assert find_server("unix:/run/pulse/native") == "unix:/run/pulse/native"
