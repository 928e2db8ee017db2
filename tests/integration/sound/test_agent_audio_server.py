"""PulseAudio is not there, dies, hangs, or loses its sink: guests do not notice, and sound comes
back by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile.acts import open_and_close
from tests.hostile.evil_guest import EvilGuest
from tests.support.agents import PATIENT, Dom0, Ended, Guest, assert_plays, play_and_record
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import RawStream, eventually
from xensnd.sndif.packets import Status, encode_request

PLAYED = Ended(0)
ALLOW_ALL = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SECOND = 48000 * 4


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """One that may end, and is not started yet."""
    pulse = PulseServer(tmp_path / "pulse")
    pulse.directory.mkdir()
    yield pulse
    pulse.stop()


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    with Dom0(tmp_path / "dom0", machine.url, pulse.address, options=[PATIENT]) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


def test_without_audio_server_a_guest_plays_on_its_clock_to_the_end(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    began = time.monotonic()
    assert work.run("play", "-", stdin=noise(1)) == PLAYED
    assert time.monotonic() - began >= 1
    lost = dom0.await_event("server_lost", guest="work")
    said = f"audio server {pulse.address}: Connection refused; sound continues when it is back"
    assert lost["MESSAGE"] == f"work: {said}"
    assert dom0.log.count(said) == 1

    pulse.start()
    assert_plays(work, pulse)


def test_stream_that_runs_without_audio_server_sounds_when_that_comes(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    played = noise(20)
    with work.start("play", "-", stdin=[played]):
        dom0.await_event("server_lost", guest="work")
        pulse.start()
        with pulse.listening() as ears:
            ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
            sound = ears.heard.strip(b"\0")
            assert len(sound) > SECOND
            assert sound in played, difference(sound, played)
        assert dom0.await_event("server_found", guest="work")["MESSAGE"] == (
            "work: the audio server is back"
        )


def test_stream_comes_back_by_itself_when_the_audio_server_died(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    played = noise(3.5)
    pulse.start()
    with work.start("play", "-", stdin=[played]) as playing:
        with pulse.listening() as ears:
            ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
            pulse.kill()
            first = ears.listen_until(lambda _: False).strip(b"\0")
        assert len(first) > SECOND / 2
        assert played.startswith(first), difference(first, played)
        pulse.start()
        with pulse.listening() as ears:
            assert playing.ended() == PLAYED
            ears.listen_until(lambda heard: played[-SECOND // 10 :] in heard)
            second = ears.heard.strip(b"\0")
        assert played.endswith(second), difference(second, played)
        assert len(second) > SECOND / 2
    dom0.await_event("server_lost", guest="work")
    dom0.await_event("server_found", guest="work")


def test_guest_that_was_silent_when_the_audio_server_died_is_no_client_of_the_next(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    def is_client() -> bool:
        with pulse.mixer() as mixer:
            names = [each.proplist.get("application.name") for each in mixer.client_list()]
            return "work" in names

    pulse.start()
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED
    assert is_client()
    pulse.kill()
    dom0.await_event("server_lost", guest="work")
    pulse.start()
    assert not eventually(is_client, seconds=0.7)


def test_audio_server_that_hangs_for_a_second_leaves_the_guest(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    played = noise(2.5)
    pulse.start()
    began = time.monotonic()
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
        pulse.freeze()
        time.sleep(1)  # so long the outage is
        pulse.thaw()
        assert playing.ended() == PLAYED
        assert 2.5 <= time.monotonic() - began < 6
        tail = played[-SECOND // 4 :]
        assert ears.hears(tail), difference(tail, ears.heard)
    assert dom0.events("server_lost") == []


def test_audio_server_that_hangs_for_good_stops_neither_guest_nor_agent(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    pulse.start()
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(1)]) as playing:
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        pulse.freeze()
        assert playing.ended() == PLAYED
        began = time.monotonic()
        assert dom0.stop() == 0
        assert time.monotonic() - began < 3
        pulse.thaw()


def test_stream_whose_sink_is_unplugged_sounds_again_on_the_next_sink(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    played = noise(20)
    pulse.start()
    with work.start("play", "-", stdin=[played]) as playing, pulse.listening() as ears:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
        with pulse.mixer() as mixer:
            (module,) = [m.index for m in mixer.module_list() if m.name == "module-null-sink"]
            mixer.module_unload(module)
        dom0.await_event("server_lost", guest="work")
        with pulse.sink("headset"), pulse.listening(device="headset.monitor") as headset:
            headset.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
            sound = headset.heard.strip(b"\0")
            assert len(sound) > SECOND / 2
            assert sound in played, difference(sound, played)
            assert playing.is_running


@pytest.mark.usefixtures("work")
def test_recording_ended_in_the_mixer_begins_anew_and_leaves_the_playback(
    tmp_path: Path, machine: LocalMachine
) -> None:
    """As pavucontrol's Terminate does it."""
    commands = tmp_path / "commands"
    played = noise(2)
    with (
        PulseServer(
            tmp_path / "pulse", modules=(f"module-cli-protocol-unix socket={commands}",)
        ) as pulse,
        Dom0(
            tmp_path / "dom0", machine.url, pulse.address, policy=ALLOW_ALL, options=[PATIENT]
        ) as dom0,
        # A source of its own: a recorder of the sink's monitor sets the sink's latency as well.
        pulse.microphone(noise(20, seed=9)),
        pulse.listening() as ears,
        ThreadPoolExecutor() as executor,
    ):

        def recordings() -> list[int]:
            with pulse.mixer() as mixer:
                outputs = mixer.source_output_list()
                return [each.index for each in outputs if each.name == "work capture"]

        transport = machine.transport("work")
        both = executor.submit(play_and_record, transport, played, 2 * 48000)
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 4)
        (ended,) = recordings()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(commands))
            connection.sendall(f"kill-source-output {ended}\n".encode())
            dom0.await_event("server_found", guest="work")
        assert recordings() not in ([], [ended])
        assert len(both.result()) == 2 * SECOND
        assert ears.hears(played), difference(played, ears.heard)


def open_and_close_at_once(stream: RawStream, times: int) -> None:
    packets = [encode_request(0, each) for each in open_and_close(stream)]
    for _ in range(times):
        assert stream.send(*packets * 5) == [Status.OK] * 10


def stream_numbers(pulse: PulseServer) -> list[int]:
    """That the server has given to sink inputs: each gets the next one."""
    with pulse.mixer() as mixer:
        return [each.index for each in mixer.sink_input_list()]


def test_streams_closed_before_the_server_has_made_them_do_not_stay_there(
    dom0: Dom0, pulse: PulseServer, machine: LocalMachine, work: Guest
) -> None:
    """A sink has room for 256 of all guests."""
    pulse.start()
    with EvilGuest(machine, dom0, work) as evil:
        stream = evil.connect()
        assert stream.ask(stream.good_open()) == Status.OK
        assert eventually(lambda: stream_numbers(pulse))
        open_and_close_at_once(stream, 20)
        assert stream.ask(stream.good_open()) == Status.OK
        assert eventually(lambda: len(stream_numbers(pulse)) == 1)


def test_guest_that_opens_and_closes_while_the_server_hangs_leaves_only_a_few_streams_to_it(
    dom0: Dom0, pulse: PulseServer, machine: LocalMachine, work: Guest
) -> None:
    pulse.start()
    with EvilGuest(machine, dom0, work) as evil:
        stream = evil.connect()
        assert stream.ask(stream.good_open()) == Status.OK
        (before,) = eventually(lambda: stream_numbers(pulse))
        pulse.freeze()
        open_and_close_at_once(stream, 20)
        assert stream.ask(stream.good_open()) == Status.OK
        pulse.thaw()
        assert eventually(lambda: [each for each in stream_numbers(pulse) if each > before])
        assert eventually(lambda: len(stream_numbers(pulse)) == 1)
        (last,) = stream_numbers(pulse)
    assert last - before < 20
