"""`xensnd-guest serve` by PipeWire's own protocol: its sink and its source are nodes that drive the
guest's graph by dom0's clock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import Dom0, Guest, Running
from tests.support.applications import playing, recording, serving
from tests.support.heard import tone, tone_lasts, tone_seconds
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import eventually

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SOURCE = "xensnd_microphone"


@pytest.fixture
def pipewire(tmp_path: Path) -> Iterator[PipeWireServer]:
    with PipeWireServer(tmp_path / "guest") as server:
        yield server


@pytest.fixture
def agent(work: Guest, pipewire: PipeWireServer, dom0: Dom0) -> Iterator[Running]:
    del dom0  # it is there before the guest
    with serving(work, pipewire, protocol=ServerProtocol.PIPEWIRE) as agent:
        yield agent


def nodes(pipewire: PipeWireServer) -> dict[str, dict[str, Any]]:
    """Each node of the graph by its name, with its id and its properties."""
    dump = subprocess.run(
        ["pw-dump"], env=pipewire.environment, capture_output=True, check=True, timeout=10
    )
    return {
        each["info"]["props"]["node.name"]: {"id": each["id"], **each["info"]}
        for each in json.loads(dump.stdout)
        if each["type"] == "PipeWire:Interface:Node"
    }


def log_of(agent: Running, what: str) -> str:
    """The agent's line about a stream that was closed."""
    lines = agent.errors.splitlines()
    return next((line for line in lines if line.startswith(f"xensnd-guest: {what} closed")), "")


@pytest.mark.usefixtures("agent")
def test_what_an_application_plays_is_heard_whole_from_its_first_frame_to_its_last(
    pulse: PulseServer, pipewire: PipeWireServer
) -> None:
    """The graph waits until dom0's stream is open."""
    played = noise(2)
    form = ("--format=s16le", "--channels=2")
    with pulse.listening() as ears, playing(pipewire, played, *form):
        assert ears.hears(played), difference(played, ears.heard)


@pytest.mark.usefixtures("agent")
def test_what_dom0_records_is_unbroken(pulse: PulseServer, pipewire: PipeWireServer) -> None:
    with pulse.microphone(tone(8)), recording(pipewire, SOURCE) as ears:
        heard = ears.listen_until(tone_lasts(2), 10)
    assert tone_seconds(heard) > 2


def test_nodes_are_the_defaults_and_go_with_the_agent(
    work: Guest, dom0: Dom0, pipewire: PipeWireServer
) -> None:
    del dom0
    with (
        serving(work, pipewire, protocol=ServerProtocol.PIPEWIRE),
        pipewire.mixer() as mixer,
    ):
        assert eventually(lambda: mixer.server_info().default_sink_name == "xensnd")
        assert eventually(lambda: mixer.server_info().default_source_name == SOURCE)
        assert [sink.description for sink in mixer.sink_list()] == ["Xen"]
    assert "xensnd" not in nodes(pipewire)


@pytest.mark.usefixtures("agent")
def test_node_drives_the_graph_and_nothing_is_resampled(
    work: Guest, dom0: Dom0, pulse: PulseServer, pipewire: PipeWireServer, agent: Running
) -> None:
    with pulse.listening() as ears, playing(pipewire, tone(3)) as application:
        ears.listen_until(tone_lasts(1), 10)
        assert nodes(pipewire)["xensnd"]["state"] == "running"
        assert application.wait(20) == 0
    dom0.await_event("stream_closed", guest="work", domid=work.domid)
    assert eventually(lambda: "48000 Hz to follow" in log_of(agent, "playback"))


@pytest.mark.usefixtures("agent")
def test_dom0_sees_a_stream_only_while_an_application_plays(
    work: Guest, dom0: Dom0, pipewire: PipeWireServer
) -> None:
    assert dom0.events("stream_opened", guest="work", domid=work.domid) == []
    with recording(pipewire, "xensnd.monitor") as ears:  # which plays nothing
        with playing(pipewire, tone(1)):
            dom0.await_event("stream_opened", guest="work", domid=work.domid)
        dom0.await_event("stream_closed", guest="work", domid=work.domid)
        assert len(dom0.events("stream_opened", guest="work", domid=work.domid)) == 1
        assert ears.heard


@pytest.mark.usefixtures("agent")
def test_sound_goes_on_with_the_next_card(
    work: Guest, dom0: Dom0, pulse: PulseServer, pipewire: PipeWireServer
) -> None:
    with pulse.listening() as ears, playing(pipewire, tone(12)):
        assert tone_seconds(ears.listen_until(tone_lasts(0.5), 10)) > 0.5
        work.replace_card()
        dom0.await_event("stream_opened", guest="work", domid=work.domid, count=2)
        before = len(ears.heard)
        ears.listen_until(tone_lasts(1, after=before), 10)
        assert tone_seconds(ears.heard[before:]) > 1


def test_node_that_somebody_destroys_is_made_again(
    pulse: PulseServer, pipewire: PipeWireServer, agent: Running
) -> None:
    destroyed = nodes(pipewire)["xensnd"]["id"]
    command = ["pw-cli", "destroy", str(destroyed)]
    subprocess.run(command, env=pipewire.environment, check=True, capture_output=True, timeout=10)
    assert eventually(lambda: "somebody removed xensnd; making it again" in agent.errors)
    assert eventually(lambda: "xensnd" in nodes(pipewire))
    with pulse.listening() as ears, playing(pipewire, tone(3)):
        assert tone_seconds(ears.listen_until(tone_lasts(1), 10)) > 1


def test_sound_comes_back_when_pipewire_does(
    pulse: PulseServer, pipewire: PipeWireServer, agent: Running
) -> None:
    pipewire.stop()
    assert eventually(lambda: "trying again until it is back" in agent.errors)
    pipewire.start()
    assert eventually(lambda: "the audio server is back" in agent.errors, 10)
    assert eventually(lambda: "xensnd" in nodes(pipewire))
    with pulse.listening() as ears, playing(pipewire, tone(3)):
        assert tone_seconds(ears.listen_until(tone_lasts(1), 10)) > 1


def test_application_joins_the_source_with_the_sink_in_one_graph(
    pulse: PulseServer, pipewire: PipeWireServer, agent: Running
) -> None:
    """Then one of the two drives, and the other one resamples."""
    loop = ["pw-loopback", f"--capture-props=target.object={SOURCE}", "--latency=20"]
    with (
        pulse.microphone(tone(12)),
        pulse.listening() as ears,
        subprocess.Popen(loop, env=pipewire.environment) as process,
    ):
        try:
            assert tone_seconds(ears.listen_until(tone_lasts(2), 10)) > 2
        finally:
            process.kill()
    assert "Traceback" not in agent.errors
