"""`xensnd-guest serve` when somebody ends what it has at the guest's own audio server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.applications import playing, recording, serving
from tests.support.heard import tone, tone_lasts, tone_seconds
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import eventually

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
AGENT = "xensnd"


@pytest.fixture
def guest_pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """It takes PulseAudio's own commands, which can kill streams."""
    cli = f"module-cli-protocol-unix socket={tmp_path}/guest/cli"
    with PulseServer(tmp_path / "guest", modules=(cli,)) as server:
        yield server


def tell(server: PulseServer, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as cli:
        cli.connect(f"{server.directory}/cli")
        cli.sendall(f"{command}\n".encode())
        cli.shutdown(socket.SHUT_WR)
        cli.settimeout(5)
        while cli.recv(4096):
            pass


def agents_stream(streams: list[Any]) -> Any:
    return next(s for s in streams if s.proplist.get("application.name") == AGENT)


def kill_source_output(server: PulseServer) -> None:
    with server.mixer() as mixer:
        stream = agents_stream(mixer.source_output_list())
    tell(server, f"kill-source-output {stream.index}")


def kill_sink_input(server: PulseServer) -> None:
    with server.mixer() as mixer:
        stream = agents_stream(mixer.sink_input_list())
    tell(server, f"kill-sink-input {stream.index}")


def unload(server: PulseServer, argument: str) -> None:
    with server.mixer() as mixer:
        module = next(m for m in mixer.module_list() if argument in (m.argument or "").split())
        mixer.module_unload(module.index)


def test_playback_comes_back_when_its_source_output_is_killed(
    work: Guest, dom0: Dom0, pulse: PulseServer, guest_pulse: PulseServer
) -> None:
    with (
        serving(work, guest_pulse) as agent,
        pulse.microphone(tone(20)),
        recording(guest_pulse, "xensnd_microphone") as microphone,
        pulse.listening() as ears,
        playing(guest_pulse, tone(12)),
    ):
        microphone.listen_until(tone_lasts(0.5))
        assert tone_seconds(ears.listen_until(tone_lasts(1))) > 1
        recorded = len(microphone.heard)
        kill_source_output(guest_pulse)
        before = len(ears.heard)
        heard = ears.listen_until(tone_lasts(1, after=before), 10)
        assert tone_seconds(heard[before:]) > 1
        assert tone_seconds(microphone.heard[recorded:]) > 0.5
        assert "capture: " not in agent.errors
        opened = dom0.events("stream_opened", guest="work", domid=work.domid)
        assert len(opened) == 2, "dom0's two streams stay open"
        line = "playback: the audio server ended the stream: Entity killed; connecting it again"
        assert agent.errors.count(line) == 1


def test_capture_comes_back_when_its_sink_input_is_killed(
    work: Guest, dom0: Dom0, pulse: PulseServer, guest_pulse: PulseServer
) -> None:
    with (
        serving(work, guest_pulse) as agent,
        pulse.microphone(tone(20)),
        recording(guest_pulse, "xensnd_microphone") as microphone,
    ):
        assert tone_seconds(microphone.listen_until(tone_lasts(1))) > 1
        kill_sink_input(guest_pulse)
        before = len(microphone.heard)
        heard = microphone.listen_until(tone_lasts(1, after=before), 10)
        assert tone_seconds(heard[before:]) > 1
        assert len(dom0.events("stream_opened", guest="work", domid=work.domid)) == 1
        assert agent.errors.count("capture: the audio server ended the stream: ") == 1


@pytest.mark.usefixtures("dom0")
def test_a_stream_that_is_killed_again_and_again_is_connected_each_time(
    work: Guest, pulse: PulseServer, guest_pulse: PulseServer
) -> None:
    with serving(work, guest_pulse), playing(guest_pulse, tone(12)), pulse.listening() as ears:
        killed = 0
        while killed < 3:
            with guest_pulse.mixer() as mixer:
                assert eventually(lambda: has_agents_stream(mixer.source_output_list()))
            kill_source_output(guest_pulse)
            killed += 1
        before = len(ears.heard)
        heard = ears.listen_until(tone_lasts(1, after=before), 10)
    assert tone_seconds(heard[before:]) > 1


def has_agents_stream(streams: list[Any]) -> bool:
    return any(s.proplist.get("application.name") == AGENT for s in streams)


@pytest.mark.usefixtures("dom0")
def test_a_sink_that_is_unloaded_is_loaded_again(
    work: Guest, pulse: PulseServer, guest_pulse: PulseServer
) -> None:
    with (
        serving(work, guest_pulse) as agent,
        pulse.microphone(tone(20)),
        recording(guest_pulse, "xensnd_microphone") as microphone,
        pulse.listening() as ears,
    ):
        with playing(guest_pulse, tone(1)):
            ears.listen_until(tone_lasts(0.5))
        recorded = len(microphone.heard)
        unload(guest_pulse, "sink_name=xensnd")
        with guest_pulse.mixer() as mixer:
            assert eventually(lambda: mixer.server_info().default_sink_name == "xensnd")
        before = len(ears.heard)
        with playing(guest_pulse, tone(2)):
            heard = ears.listen_until(tone_lasts(1, after=before), 10)
        assert tone_seconds(heard[before:]) > 1
        assert tone_seconds(microphone.heard[recorded:]) > 0.5
        assert "capture: " not in agent.errors
        assert agent.errors.count("somebody unloaded xensnd; loading it again") == 1


@pytest.mark.usefixtures("dom0")
def test_the_microphones_sink_that_is_unloaded_is_loaded_again_with_all_that_hangs_on_it(
    work: Guest, pulse: PulseServer, guest_pulse: PulseServer
) -> None:
    with serving(work, guest_pulse), pulse.microphone(tone(20)):
        with recording(guest_pulse, "xensnd_microphone") as microphone:
            heard = microphone.listen_until(tone_lasts(0.5))
            assert tone_seconds(heard) > 0.5
        unload(guest_pulse, "sink_name=xensnd_capture")
        with guest_pulse.mixer() as mixer:
            assert eventually(
                lambda: mixer.server_info().default_source_name == "xensnd_microphone"
            )
        with recording(guest_pulse, "xensnd_microphone") as microphone:
            heard = microphone.listen_until(tone_lasts(1), 10)
        assert tone_seconds(heard) > 1
