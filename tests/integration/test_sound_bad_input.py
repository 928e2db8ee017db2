"""What people give xensnd-guest by mistake: one line that says what to do, and no more."""

from __future__ import annotations

import signal
import subprocess
import wave
from pathlib import Path

import pytest

from tests.support.agents import Dom0, Ended, Guest, Running, guest_command
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise, write_wav
from tests.support.raw_frontend import eventually

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
DONE = Ended(0)
SECOND = 48000 * 4

pytestmark = pytest.mark.usefixtures("dom0")


def said(text: str) -> Ended:
    return Ended(2, f"xensnd-guest: {text}\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"I am no sound. " * 10, "Format not recognised"),
        (b"", "Format not recognised"),
        (b"RIFF\0\0\0\0WAVE", "Error in WAV file. No 'data' chunk marker"),
        (None, "No such file or directory"),
    ],
    ids=["text", "empty", "header alone", "missing"],
)
def test_file_that_is_no_wav_is_refused(
    work: Guest, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "sound.wav"
    if content is not None:
        file.write_bytes(content)
    assert work.run("play", str(file)) == said(
        f"{file}: {reason}; give a WAV file, or raw samples on '-'"
    )


def test_wav_of_compressed_samples_is_refused(work: Guest, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "alaw.wav", noise(0.1), bits=8)
    octets = bytearray(file.read_bytes())
    octets[20] = 6
    file.write_bytes(octets)
    assert work.run("play", str(file)) == said(
        f"{file}: samples of ALAW, which cannot be played bit by bit; "
        "convert it to 16, 24 or 32 bit, or float"
    )


def test_wav_of_six_channels_is_refused(work: Guest, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "six.wav", noise(0.1, frame_octets=12), channels=6)
    assert work.run("play", str(file)) == said("this card takes 1-2 channels, not 6")


def test_wav_of_a_rate_that_the_card_has_not_is_refused(work: Guest, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "odd.wav", noise(0.1), rate_hz=12345)
    assert work.run("play", str(file)) == said(
        "this card does not take 12345 Hz, but 8000, 11025, 16000, 22050, 32000, 44100, 48000, "
        "64000, 96000, 176400, 192000; resample first"
    )


@pytest.mark.sound
def test_wav_that_was_cut_off_is_played_as_far_as_it_goes(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    played = noise(0.3)
    file = write_wav(tmp_path / "cut.wav", played)
    file.write_bytes(file.read_bytes()[:-4000])
    with pulse.listening() as ears:
        assert work.run("play", str(file)) == DONE
        assert ears.hears(played[:-4000]), difference(played, ears.heard)


def test_recording_to_a_place_that_is_not_there_is_refused(work: Guest, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "recorded.wav"
    assert work.run("record", str(file), "--seconds=1") == said(
        f"{file}: No such file or directory; give a path that can be written"
    )


def test_recording_of_a_format_that_wav_files_have_not_is_refused(
    work: Guest, tmp_path: Path
) -> None:
    file = tmp_path / "recorded.wav"
    assert work.run("record", str(file), "--seconds=1", "--format=u8") == said(
        f"{file}: WAV files hold no u8; use '-'"
    )


def test_recording_to_a_full_disk_ends_with_one_line(machine: LocalMachine, work: Guest) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            guest_command(machine.url, work.name, "record", "-", "--seconds=5"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert Ended(ended.returncode, ended.stderr) == said(
        "standard output: No space left on device; make room there"
    )


def test_recording_whose_reader_has_enough_ends_quietly(machine: LocalMachine, work: Guest) -> None:
    with subprocess.Popen(
        guest_command(machine.url, work.name, "record", "-", "--seconds=20"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as recording:
        assert recording.stdout is not None
        assert recording.stderr is not None
        recording.stdout.read(1000)
        recording.stdout.close()
        errors = recording.stderr.read()
    assert (recording.returncode, errors) == (0, b"")


def test_domain_that_is_not_there_is_refused(machine: LocalMachine, work: Guest) -> None:
    with Running(guest_command(machine.url, "nobody", "play", "-")) as playing:
        assert playing.ended() == said(
            f"no domain 'nobody'; known are: {work.name} "
            f"(create one with: xensnd-localxen DIR create NAME)"
        )


# Told to end


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_waiting_for_stdin_it_can_be_told_to_end(dom0: Dom0, work: Guest, signum: int) -> None:
    with work.start("play", "-") as playing:
        dom0.await_event("decision", domid=work.domid)
        playing.process.send_signal(signum)
        assert playing.ended(5) == DONE
    dom0.await_event("device_disconnected", domid=work.domid)


def test_playing_it_can_be_told_to_end(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(60)]) as playing:
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        playing.process.send_signal(signal.SIGTERM)
        assert playing.ended(5) == DONE
    dom0.await_event("device_disconnected", domid=work.domid)


def test_recording_that_is_told_to_end_leaves_a_whole_wav_file(work: Guest, tmp_path: Path) -> None:
    file = tmp_path / "recorded.wav"
    with work.start("record", str(file), "--seconds=60") as recording:
        assert eventually(lambda: file.exists() and file.stat().st_size > SECOND / 4)
        recording.process.send_signal(signal.SIGTERM)
        assert recording.ended(5) == DONE
    with wave.open(str(file)) as reader:
        assert reader.getnframes() > 48000 / 4
        assert file.stat().st_size >= reader.getnframes() * 4


# Standard input that takes its time


@pytest.mark.sound
def test_stdin_that_pauses_is_heard_whole(pulse: PulseServer, work: Guest) -> None:
    first, second = noise(0.6, seed=1), noise(0.2, seed=2)
    with pulse.listening() as ears, work.start("play", "-") as playing:
        playing.give(first)
        assert ears.hears(first), difference(first, ears.heard)
        playing.give(second)
        playing.give_no_more()
        assert playing.ended() == DONE
        assert ears.hears(second), difference(second, ears.heard)


@pytest.mark.sound
def test_stdin_that_comes_octet_by_octet_is_heard_whole(pulse: PulseServer, work: Guest) -> None:
    played = noise(0.02)
    with pulse.listening() as ears, work.start("play", "-") as playing:
        for at in range(len(played)):
            playing.give(played[at : at + 1])
        playing.give_no_more()
        assert playing.ended() == DONE
        assert ears.hears(played), difference(played, ears.heard)
