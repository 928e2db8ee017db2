"""What dom0's source gives arrives in a guest that may record, octet for octet."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from tests.support.agents import Ended, Guest, play_and_record
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise

pytestmark = pytest.mark.usefixtures("dom0")

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
RECORDED = Ended(0)
SECONDS = 0.5


def assert_recorded(recorded: bytes, spoken: bytes, octets: int) -> None:
    """All that was asked for, and nothing but what was spoken: at most it begins in silence."""
    assert len(recorded) == octets
    sound = recorded.lstrip(b"\0\x80")
    assert len(sound) > octets / 2
    assert sound in spoken, difference(sound, spoken)


def test_stereo_is_recorded_octet_for_octet(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    spoken = noise(5)
    with pulse.microphone(spoken):
        assert work.run("record", str(tmp_path / "recorded.wav"), "--seconds=2") == RECORDED
    with wave.open(str(tmp_path / "recorded.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 48000, 96000)
        assert_recorded(file.readframes(96000), spoken, 96000 * 4)


@pytest.mark.parametrize(
    ("wire", "source", "rate_hz", "channels", "sample_octets"),
    [
        ("s16_le", "s16le", 44100, 1, 2),
        ("s32_le", "s32le", 48000, 2, 4),
        ("float_le", "float32le", 48000, 1, 4),
        ("u8", "u8", 8000, 1, 1),
    ],
)
def test_raw_samples_are_recorded_octet_for_octet(
    pulse: PulseServer,
    work: Guest,
    wire: str,
    source: str,
    rate_hz: int,
    channels: int,
    sample_octets: int,
) -> None:
    frame_octets = channels * sample_octets
    spoken = noise(3, rate_hz=rate_hz, frame_octets=frame_octets)
    options = (f"--format={wire}", f"--rate={rate_hz}", f"--channels={channels}")
    with (
        pulse.microphone(spoken, sample_format=source, rate_hz=rate_hz, channels=channels),
        work.start("record", "-", f"--seconds={SECONDS}", *options) as recording,
    ):
        assert recording.ended() == RECORDED
        assert_recorded(recording.heard, spoken, int(SECONDS * rate_hz) * frame_octets)


def lower_24_of_32_bits(octets: bytes) -> bytes:
    samples = bytearray(len(octets) // 4 * 3)
    for place in range(3):
        samples[place::3] = octets[place::4]
    return bytes(samples)


def test_24_bits_are_written_as_a_wav_file_of_24_bits(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    spoken = noise(3, frame_octets=8)
    file = tmp_path / "recorded.wav"
    with pulse.microphone(spoken, sample_format="s24-32le"):
        options = (f"--seconds={SECONDS}", "--format=s24_le")
        assert work.run("record", str(file), *options) == RECORDED
    with wave.open(str(file)) as reader:
        assert reader.getparams()[:4] == (2, 3, 48000, int(SECONDS * 48000))
        recorded = reader.readframes(int(SECONDS * 48000))
    assert_recorded(recorded, lower_24_of_32_bits(spoken), int(SECONDS * 48000) * 6)


def test_a_guest_plays_and_records_at_once(
    pulse: PulseServer, machine: LocalMachine, work: Guest
) -> None:
    spoken, played = noise(4, seed=1), noise(1, seed=2)
    with pulse.microphone(spoken), pulse.listening() as ears:
        recorded = play_and_record(machine.transport(work.name), played, 48000)
        assert ears.hears(played), difference(played, ears.heard)
    assert_recorded(recorded, spoken, 48000 * 4)
