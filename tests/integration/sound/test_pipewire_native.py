"""Guests play and record by PipeWire's own protocol, as they do by PulseAudio's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import PATIENT, Dom0, Ended, Guest, driver_of, play_and_record
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import (
    SINK,
    Listener,
    difference,
    feed,
    noise,
    sink_input,
    write_wav,
)
from tests.support.raw_frontend import eventually
from tests.support.told_positions import assert_none_is_early

PLAYED = Ended(0)
SECOND = 48000 * 4
POLICY = 'version: 1\nrules:\n  - {guest: "*", playback: allow, capture: allow}\n'
FORM = ("--raw", "--format=s16le", "--rate=48000", "--channels=2")


def load_sinks(pipewire: PipeWireServer, *names: str) -> None:
    with pipewire.mixer() as mixer:
        for name in names:
            mixer.module_load("module-null-sink", f"sink_name={name} rate=48000 channels=2")


@pytest.fixture
def pipewire(tmp_path: Path) -> Iterator[PipeWireServer]:
    with PipeWireServer(tmp_path / "pipewire") as pipewire:
        load_sinks(pipewire, SINK)
        yield pipewire


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pipewire: PipeWireServer) -> Iterator[Dom0]:
    with Dom0(
        tmp_path / "dom0",
        machine.url,
        pipewire.address_for(ServerProtocol.PIPEWIRE),
        policy=POLICY,
        options=[PATIENT],
        prefix=pipewire.agent_prefix,
    ) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


@contextmanager
def listening(pipewire: PipeWireServer, device: str = f"{SINK}.monitor") -> Iterator[Listener]:
    """To what the sink plays, from before the block begins."""
    command = ["parec", *FORM, f"--device={device}", "--latency-msec=20"]
    ears = Listener(
        subprocess.Popen(
            command, env=pipewire.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    )
    ears.listen_until(lambda heard: len(heard) > 0)
    try:
        yield ears
    finally:
        ears.stop()


@contextmanager
def voice(pipewire: PipeWireServer, octets: bytes) -> Iterator[str]:
    """A source that gives these octets, without a converter between: a monitor."""
    load_sinks(pipewire, "voice")
    command = ["pacat", *FORM, "--device=voice", "--latency-msec=200"]
    with subprocess.Popen(command, env=pipewire.environment, stdin=subprocess.PIPE) as speaking:
        feeder = feed(speaking, [octets])
        try:
            yield "voice.monitor"
        finally:
            speaking.kill()
            feeder.join()


@pytest.mark.usefixtures("dom0")
def test_each_sound_is_heard_octet_for_octet_from_its_first_frame_to_its_last(
    pipewire: PipeWireServer, work: Guest, tmp_path: Path
) -> None:
    with listening(pipewire) as ears:
        for number, seconds in enumerate((2, 0.3, 480 / 48000, 1 / 48000)):
            played = noise(seconds, seed=number)
            assert work.run("play", str(write_wav(tmp_path / "noise.wav", played))) == PLAYED
            assert ears.hears(played), difference(played, ears.heard)


def test_no_position_is_told_before_its_time(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    """Each of PipeWire's cycles is longer than a position may be early."""
    with driver_of(machine, dom0, work) as driver:
        assert_none_is_early(driver.connect())
        driver.forget_streams()


@pytest.mark.usefixtures("dom0")
@pytest.mark.parametrize(
    ("wire", "rate_hz", "frame_octets"),
    [("u8", 8000, 1), ("s32_le", 44100, 4), ("float_le", 192000, 4)],
)
def test_guest_with_another_format_and_rate_is_heard_for_as_long_as_it_plays(
    pipewire: PipeWireServer, work: Guest, wire: str, rate_hz: int, frame_octets: int
) -> None:
    octets = b"\x40" * rate_hz * frame_octets
    options = (f"--format={wire}", f"--rate={rate_hz}", "--channels=1")
    with listening(pipewire) as ears:
        assert work.run("play", "-", *options, stdin=octets) == PLAYED
        heard = ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 0.99 * SECOND)
    sound = heard.strip(b"\0")
    assert 0.99 * SECOND < len(sound) < 1.01 * SECOND
    middle = sound[SECOND // 4 : SECOND // 2]
    assert b"\0" * 4 not in middle


def test_guest_records_octet_for_octet_while_it_plays(
    dom0: Dom0, pipewire: PipeWireServer, machine: LocalMachine, work: Guest
) -> None:
    spoken, played = noise(8, seed=1), noise(1, seed=2)
    with voice(pipewire, spoken) as source, listening(pipewire) as ears:
        dom0.use(
            'version: 1\nrules:\n  - {guest: "*", playback: allow}\n'
            f'  - {{guest: "*", capture: allow, device: {source}, monitor: allow}}\n'
        )
        recorded = play_and_record(machine.transport(work.name), played, 96000)
        assert ears.hears(played), difference(played, ears.heard)
        assert dom0.events("source_admitted", source=source)
    assert len(recorded) == 96000 * 4
    sound = recorded.lstrip(b"\0")
    assert len(sound) > SECOND
    assert sound in spoken, difference(sound, spoken)


@pytest.mark.usefixtures("dom0")
def test_silence_corks_the_stream_and_the_next_sound_is_whole(
    pipewire: PipeWireServer, work: Guest
) -> None:
    played = noise(0.5)
    silence = bytes(4 * SECOND)
    with (
        listening(pipewire) as ears,
        work.start("play", "-", stdin=[played, silence, played]) as playing,
        sink_input(pipewire, "work") as now,
    ):
        assert ears.hears(played), difference(played, ears.heard)
        assert eventually(lambda: now().corked, 10)
        assert ears.heard.count(played) == 1
        assert playing.ended() == PLAYED
        heard = ears.listen_until(lambda heard: heard.count(played) == 2)
        assert heard.count(played) == 2, difference(
            played, heard[heard.find(played) + len(played) :]
        )


def test_mixers_show_the_guest_and_its_stream(
    dom0: Dom0, pipewire: PipeWireServer, work: Guest
) -> None:
    with (
        work.start("play", "-", stdin=[noise(20)]),
        sink_input(pipewire, "work") as now,
    ):
        properties = now().proplist
        assert now().name == "work playback"
        assert properties["application.id"] == "xensnd.work"
        assert properties["application.icon_name"] == "computer"
        assert properties["xensnd.domid"] == str(work.domid)
        assert eventually(lambda: dom0.stream("work")["device"] == SINK)


@pytest.mark.usefixtures("dom0")
def test_volume_is_remembered_for_its_guest_alone(
    machine: LocalMachine, pipewire: PipeWireServer, work: Guest
) -> None:
    """WirePlumber remembers it by the role of the media, if there is one: so there is none."""
    personal = Guest(machine, "personal")
    with work.start("play", "-", stdin=[noise(20)]), sink_input(pipewire, "work") as now:
        with pipewire.mixer() as mixer:
            mixer.volume_set_all_chans(now(), 0.4)
        assert eventually(lambda: round(now().volume.value_flat, 2) == 0.4)
    for guest, volume in ((personal, 1.0), (work, 0.4)):
        with (
            guest.start("play", "-", stdin=[noise(20)]),
            sink_input(pipewire, guest.name) as now,
        ):
            assert eventually(lambda: round(now().volume.value_flat, 2) == volume)  # noqa: B023


def test_sound_comes_back_by_itself_when_pipewire_was_restarted(
    dom0: Dom0, pipewire: PipeWireServer, work: Guest
) -> None:
    played = noise(40)
    with work.start("play", "-", stdin=[played]) as playing:
        with listening(pipewire) as ears:
            assert ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND // 2)
        pipewire.stop()
        lost = dom0.await_event("server_lost", guest="work")
        assert lost["MESSAGE"].startswith(
            f"work: audio server {pipewire.address_for(ServerProtocol.PIPEWIRE)}: "
        )
        pipewire.start()
        load_sinks(pipewire, SINK)
        dom0.await_event("server_found", guest="work")
        with listening(pipewire) as ears:
            heard = ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
            sound = heard.strip(b"\0")
            assert len(sound) > SECOND
            assert sound in played, difference(sound, played)
        assert playing.is_running


def test_stream_of_a_rule_with_a_device_plays_there_and_nowhere_else(
    dom0: Dom0, pipewire: PipeWireServer, work: Guest
) -> None:
    dom0.use(POLICY.replace("capture: allow", "device: headset"))
    with listening(pipewire) as ears, work.start("play", "-", stdin=[noise(60)]):
        dom0.await_event("server_lost", guest="work")
        load_sinks(pipewire, "headset")
        with listening(pipewire, "headset.monitor") as headset:
            assert headset.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND // 2)
            assert eventually(lambda: dom0.stream("work")["device"] == "headset")
            with pipewire.mixer() as mixer:
                unload(mixer, "headset")
        dom0.await_event("server_lost", guest="work", count=2)
        assert not ears.heard.strip(b"\0")


def unload(mixer: Any, sink: str) -> None:
    (module,) = (m for m in mixer.module_list() if f"sink_name={sink}" in (m.argument or ""))
    mixer.module_unload(module.index)


def test_agent_names_the_library_that_is_missing(
    tmp_path: Path, machine: LocalMachine, pipewire: PipeWireServer, work: Guest
) -> None:
    hidden = f"PIPEWIRE_MODULE_DIR={tmp_path}"
    with Dom0(
        tmp_path / "other",
        machine.url,
        pipewire.address_for(ServerProtocol.PIPEWIRE),
        options=[PATIENT],
        prefix=[*pipewire.agent_prefix, hidden],
    ) as dom0:
        assert work.run("play", "-", stdin=noise(0.3)) == PLAYED
        lost = dom0.await_event("server_lost", guest="work")
        assert "libpipewire cannot begin" in lost["MESSAGE"]
