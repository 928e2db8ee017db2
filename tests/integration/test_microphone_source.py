"""A guest records microphones, and nothing of what others play, whatever source the audio server
gives it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pulsectl
import pytest

from tests.support.agents import PATIENT, Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import SINK, PulseServer, feed, noise
from tests.support.raw_frontend import eventually

MONITOR = f"{SINK}.monitor"
SECOND = 48000 * 4
MODULES = ("module-rescue-streams", "module-stream-restore")
# What is spoken has odd octets only, what others play has even ones, and none is 0. All of it is
# carried as it is, so each octet tells where it comes from.
SPOKEN = noise(20, seed=1).translate(bytes(each | 1 for each in range(256)))
PLAYED = noise(20, seed=2).translate(bytes(each & 0xFE or 2 for each in range(256)))
_ODD = bytes(range(1, 256, 2))


def allow(**options: str) -> str:
    said = {"guest": "'*'", "capture": "allow", **options}
    return f"version: 1\nrules:\n  - {{{', '.join(f'{k}: {v}' for k, v in said.items())}}}\n"


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """Without a source but the monitor."""
    with PulseServer(tmp_path / "pulse", has_source=False, modules=MODULES) as pulse:
        yield pulse


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    with agent(tmp_path, machine, pulse.address) as dom0:
        yield dom0


@contextmanager
def agent(
    tmp_path: Path, machine: LocalMachine, address: str, prefix: Sequence[str] = ()
) -> Iterator[Dom0]:
    directory, options = tmp_path / "dom0", [PATIENT]
    with Dom0(
        directory, machine.url, address, policy=allow(), options=options, prefix=prefix
    ) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


@contextmanager
def sounding(server: PulseServer | PipeWireServer, sink: str, octets: bytes) -> Iterator[None]:
    command = ["pacat", "--raw", f"--device={sink}", "--latency-msec=200"]
    command += ["--format=s16le", "--rate=48000", "--channels=2"]
    with subprocess.Popen(command, env=server.environment, stdin=subprocess.PIPE) as playing:
        feeder = feed(playing, [octets])
        try:
            yield
        finally:
            playing.kill()
            feeder.join()


@pytest.fixture
def neighbour(pulse: PulseServer) -> Iterator[None]:
    """Somebody else plays, and it arrives at the sink."""
    with pulse.listening() as ears, sounding(pulse, SINK, PLAYED):
        assert ears.listen_until(lambda heard: heard.strip(b"\0")).strip(b"\0")
        yield


def octets_of_others(heard: bytes) -> int:
    """How many octets are in it that were played, not spoken."""
    return len(heard.translate(None, _ODD + b"\0"))


def is_live(heard: bytes, seconds: float = 0.1) -> bool:
    """At its end, for so long."""
    octets = round(seconds * SECOND)
    return len(heard) >= octets and b"\0" not in heard[-octets:]


def is_silent(heard: bytes, seconds: float = 0.3) -> bool:
    octets = round(seconds * SECOND)
    return len(heard) >= octets and not heard[-octets:].strip(b"\0")


def recorder(server: PulseServer | PipeWireServer) -> Any:
    """The guest's recording at the server."""
    with server.mixer() as mixer:
        outputs = mixer.source_output_list()
        return next((each for each in outputs if each.name == "work capture"), None)


def move(server: PulseServer | PipeWireServer, source: str) -> None:
    """As a person does in a mixer; again if the server was busy with the stream, or it was just
    replaced by another."""

    def is_there() -> bool:
        with server.mixer() as mixer, suppress(pulsectl.PulseOperationFailed):
            wanted = next(each.index for each in mixer.source_list() if each.name == source)
            stream = recorder(server)
            if stream is not None and stream.source == wanted:
                return True
            if stream is not None:
                mixer.source_output_move(stream.index, wanted)
        return False

    assert eventually(is_there)


def device(dom0: Dom0) -> str | None:
    """What it records, as people are shown; nobody records a monitor."""
    name: str | None = dom0.stream("work")["device"]
    return name


@pytest.mark.usefixtures("neighbour")
def test_guest_of_a_machine_without_a_microphone_hears_nothing(dom0: Dom0, work: Guest) -> None:
    with work.start("record", "-", "--seconds=20") as recording:
        refused = dom0.await_event("source_refused", guest="work")
        assert refused["XENSND_SOURCE"] == MONITOR
        assert refused["MESSAGE"] == (
            f"work: capture gets silence: {MONITOR} is a monitor, which records what others play"
        )
        assert eventually(lambda: device(dom0) == MONITOR)
        assert not dom0.shown("work")["records"]
        heard = recording.listen_until(lambda heard: len(heard) > SECOND)
        assert len(heard) > SECOND
        assert not heard.strip(b"\0")
    assert not dom0.events("source_admitted")


@pytest.mark.usefixtures("neighbour")
def test_microphone_that_is_unplugged_and_plugged_in_again(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with work.start("record", "-", "--seconds=20") as recording:
        with pulse.microphone(SPOKEN):
            dom0.await_event("source_admitted", guest="work", source="microphone")
            assert is_live(recording.listen_until(is_live))
            assert device(dom0) == "microphone"
            assert dom0.shown("work")["records"]
        dom0.await_event("source_refused", guest="work", source=MONITOR)
        assert eventually(lambda: device(dom0) == MONITOR)
        recording.listen_until(is_silent)
        with pulse.microphone(SPOKEN):
            dom0.await_event("source_admitted", guest="work", source="microphone", count=2)
            assert is_live(recording.listen_until(is_live))
        assert octets_of_others(recording.heard) == 0


@pytest.mark.usefixtures("neighbour")
def test_default_source_that_becomes_a_monitor_and_a_microphone_again(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with pulse.microphone(SPOKEN), work.start("record", "-", "--seconds=20") as recording:
        for count in (1, 2):
            dom0.await_event("source_admitted", guest="work", source="microphone", count=count)
            assert is_live(recording.listen_until(is_live))
            with pulse.mixer() as mixer:
                mixer.source_default_set(MONITOR)
            dom0.await_event("source_refused", guest="work", source=MONITOR, count=count)
            assert is_silent(recording.listen_until(is_silent))
            with pulse.mixer() as mixer:
                mixer.source_default_set("microphone")
        assert octets_of_others(recording.heard) == 0


@pytest.mark.usefixtures("neighbour")
def test_monitor_that_the_server_remembers_for_the_guest_is_silence(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with pulse.microphone(SPOKEN):
        with work.start("record", "-", "--seconds=20") as recording:
            assert is_live(recording.listen_until(is_live))
            move(pulse, MONITOR)
            dom0.await_event("source_refused", guest="work")
            recording.listen_until(is_silent)
            assert octets_of_others(recording.heard) == 0
        with work.start("record", "-", "--seconds=20") as recording:
            dom0.await_event("source_refused", guest="work", count=2)
            recording.listen_until(lambda heard: len(heard) > SECOND // 2)
            assert not recording.heard.strip(b"\0")


@pytest.mark.usefixtures("neighbour")
def test_nothing_of_a_monitor_is_in_what_is_recorded_while_a_person_moves_it_to_and_fro(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with pulse.microphone(SPOKEN), work.start("record", "-", "--seconds=20") as recording:
        for count in range(1, 16):
            dom0.await_event("source_admitted", guest="work", count=count)
            assert is_live(recording.listen_until(is_live))
            move(pulse, MONITOR)
            dom0.await_event("source_refused", guest="work", count=count)
            move(pulse, "microphone")
        for _ in range(100):
            move(pulse, MONITOR)
            time.sleep(0.001)
            move(pulse, "microphone")
        assert eventually(lambda: device(dom0) == "microphone")
        assert is_live(recording.listen_until(is_live))
        assert octets_of_others(recording.heard) == 0


def test_stream_that_was_on_a_monitor_is_another_one_on_the_microphone(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    """The server may hold back what it has of a stream's last source, and give it later."""
    with pulse.microphone(SPOKEN), work.start("record", "-", "--seconds=20") as recording:
        dom0.await_event("source_admitted", guest="work")
        first = recorder(pulse).index
        move(pulse, MONITOR)
        dom0.await_event("source_refused", guest="work")
        assert recorder(pulse).index == first
        move(pulse, "microphone")
        dom0.await_event("source_admitted", guest="work", count=2)
        second = recorder(pulse).index
        assert second != first
        with pulse.source("headset", master="voice.monitor"):
            move(pulse, "headset")
            dom0.await_event("source_admitted", guest="work", source="headset")
            assert recorder(pulse).index == second
            assert is_live(recording.listen_until(is_live))


def test_stream_that_a_person_moves_from_a_monitor_to_a_microphone_besides_the_default_stays_there(
    tmp_path: Path, machine: LocalMachine, work: Guest
) -> None:
    """Of a server that remembers nothing."""
    with (
        PulseServer(tmp_path / "forgetful", has_source=False) as pulse,
        agent(tmp_path, machine, pulse.address) as dom0,
        pulse.microphone(SPOKEN),
        pulse.source("headset", master="voice.monitor"),
        work.start("record", "-", "--seconds=20") as recording,
    ):
        dom0.await_event("source_admitted", guest="work", source="microphone")
        move(pulse, MONITOR)
        dom0.await_event("source_refused", guest="work")
        first = recorder(pulse).index
        with pulse.mixer() as mixer:
            headset = mixer.get_source_by_name("headset").index

            def is_moved() -> bool:
                with suppress(pulsectl.PulseOperationFailed):  # busy with it; see move()
                    mixer.source_output_move(first, headset)
                    return True
                return False

            assert eventually(is_moved)  # the first stream alone: nobody moves the next one
        dom0.await_event("source_admitted", guest="work", source="headset")
        assert recorder(pulse).index != first
        assert is_live(recording.listen_until(is_live))
        assert device(dom0) == "headset"


def test_person_who_is_asked_is_told_what_would_be_recorded(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(allow().replace("allow", "ask"))
    with pulse.microphone(SPOKEN), work.start("record", "-", "--seconds=20") as recording:
        asked = dom0.await_event("prompt_shown", guest="work")
        assert asked["XENSND_SOURCE"] == "microphone"
        (prompt,) = dom0.ask("status")["prompts"]
        assert (prompt["id"], prompt["source"]) == (asked["XENSND_PROMPT"], "microphone")
        dom0.ask("answer", id=prompt["id"], guest="work", direction="capture", answer="once")
        admitted = dom0.await_event("source_admitted", guest="work")
        assert admitted["XENSND_SOURCE"] == asked["XENSND_SOURCE"]
        assert is_live(recording.listen_until(is_live))


def test_person_is_asked_without_the_source_while_the_audio_server_hangs(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(allow().replace("allow", "ask"))
    pulse.freeze()
    try:
        with work.start("record", "-", "--seconds=20"):
            dom0.await_event("prompt_shown", guest="work")
            (prompt,) = dom0.ask("status")["prompts"]
            assert prompt["source"] is None
    finally:
        pulse.thaw()


@pytest.mark.usefixtures("neighbour")
def test_monitor_is_recorded_where_a_rule_names_it_and_has_the_word(
    dom0: Dom0, work: Guest
) -> None:
    dom0.use(allow(device=MONITOR, monitor="allow"))
    with work.start("record", "-", "--seconds=20") as recording:
        assert dom0.await_event("source_admitted", guest="work")["XENSND_SOURCE"] == MONITOR
        assert is_live(recording.listen_until(is_live))
        assert octets_of_others(recording.heard) > SECOND // 10
        dom0.use(allow())
        dom0.await_event("source_refused", guest="work")
        assert is_silent(recording.listen_until(is_silent))


@pytest.fixture
def pipewire(tmp_path: Path) -> Iterator[PipeWireServer]:
    """With a sink that somebody else plays into, and a microphone."""
    with PipeWireServer(tmp_path / "pipewire") as pipewire, pipewire.mixer() as mixer:
        for sink in (SINK, "voice"):
            mixer.module_load("module-null-sink", f"sink_name={sink} rate=48000 channels=2")
        plug_in(pipewire)
        with sounding(pipewire, SINK, PLAYED), sounding(pipewire, "voice", SPOKEN):
            yield pipewire


def plug_in(pipewire: PipeWireServer) -> None:
    with pipewire.mixer() as mixer:
        mixer.module_load("module-remap-source", "source_name=microphone master=voice.monitor")
        assert eventually(lambda: prefer(mixer, "microphone"))


def prefer(mixer: Any, source: str) -> bool:
    """Whether PipeWire's session manager is ready to be told."""
    with suppress(pulsectl.PulseOperationFailed):
        mixer.source_default_set(source)
        return bool(mixer.server_info().default_source_name == source)
    return False


def unplug(pipewire: PipeWireServer) -> None:
    with pipewire.mixer() as mixer:
        for module in mixer.module_list():
            if module.name == "module-remap-source":
                mixer.module_unload(module.index)


@pytest.fixture(params=ServerProtocol, ids=lambda protocol: protocol.value)
def dom0_of_pipewire(
    request: pytest.FixtureRequest, tmp_path: Path, machine: LocalMachine, pipewire: PipeWireServer
) -> Iterator[Dom0]:
    address = pipewire.address_for(request.param)
    with agent(tmp_path, machine, address, pipewire.agent_prefix) as dom0:
        yield dom0


@pytest.mark.sound  # or PipeWire's session manager is late
def test_nothing_of_a_monitor_is_recorded_from_pipewire_while_it_moves_the_stream(
    dom0_of_pipewire: Dom0, pipewire: PipeWireServer, work: Guest
) -> None:
    dom0 = dom0_of_pipewire
    with work.start("record", "-", "--seconds=40") as recording:
        for count in range(1, 8):
            dom0.await_event("source_admitted", guest="work", source="microphone", count=count)
            assert is_live(recording.listen_until(is_live))
            # Or a change of the default source would not move it.
            assert "target.object" not in recorder(pipewire).proplist
            if count % 2:
                move(pipewire, MONITOR)
            else:
                with pipewire.mixer() as mixer:
                    mixer.source_default_set(MONITOR)
            dom0.await_event("source_refused", guest="work", source=MONITOR, count=count)
            assert is_silent(recording.listen_until(is_silent))
            if count % 2:
                move(pipewire, "microphone")
            else:
                with pipewire.mixer() as mixer:
                    mixer.source_default_set("microphone")
        assert octets_of_others(recording.heard) == 0


def test_microphone_that_is_unplugged_from_pipewire(
    dom0_of_pipewire: Dom0, pipewire: PipeWireServer, work: Guest
) -> None:
    dom0 = dom0_of_pipewire
    with work.start("record", "-", "--seconds=40") as recording:
        dom0.await_event("source_admitted", guest="work", source="microphone")
        assert is_live(recording.listen_until(is_live))
        unplug(pipewire)
        dom0.await_event("source_refused", guest="work", source=MONITOR)
        assert is_silent(recording.listen_until(is_silent))
        plug_in(pipewire)
        dom0.await_event("source_admitted", guest="work", source="microphone", count=2)
        assert is_live(recording.listen_until(is_live))
        assert octets_of_others(recording.heard) == 0
