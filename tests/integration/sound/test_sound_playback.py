"""What a guest plays comes out of dom0's sink, octet for octet."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.support.agents import Dom0, Ended, Guest
from tests.support.pulse_server import PulseServer, difference, noise, write_wav

pytestmark = pytest.mark.usefixtures("dom0")

PLAYED = Ended(0)
SECONDS = 0.5


def test_five_seconds_of_stereo_are_heard_octet_for_octet(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    played = noise(5)
    began = time.monotonic()
    with pulse.listening() as ears:
        assert work.run("play", str(write_wav(tmp_path / "noise.wav", played))) == PLAYED
        assert time.monotonic() - began >= 5
        assert ears.hears(played), difference(played, ears.heard)


def float_noise() -> bytes:
    random = Random(2)
    return array("f", (random.uniform(-1, 1) for _ in range(int(SECONDS * 48000) * 2))).tobytes()


def upper_24_of_32_bits(octets: bytes) -> bytes:
    samples = bytearray(len(octets) // 3 * 4)
    for place in range(3):
        samples[place + 1 :: 4] = octets[place::3]
    return bytes(samples)


@dataclass(frozen=True)
class Format:
    """Of a WAV file, and of the sink that plays it without changing anything."""

    bits: int
    sink: str
    rate_hz: int = 48000
    channels: int = 2
    is_float: bool = False

    @property
    def frame_octets(self) -> int:
        return self.channels * self.bits // 8


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(Format(16, "s16le", 44100, 1), id="16 bit 44.1 kHz mono"),
        pytest.param(Format(16, "s16le", 192000), id="16 bit 192 kHz stereo"),
        pytest.param(Format(24, "s32le"), id="24 bit"),
        pytest.param(Format(32, "s32le"), id="32 bit"),
        pytest.param(Format(32, "float32le", is_float=True), id="float"),
    ],
)
def test_wav_is_heard_octet_for_octet(
    pulse: PulseServer, work: Guest, tmp_path: Path, form: Format
) -> None:
    octets = noise(SECONDS, rate_hz=form.rate_hz, frame_octets=form.frame_octets)
    if form.is_float:
        octets = float_noise()
    played = upper_24_of_32_bits(octets) if form.bits == 24 else octets
    file = write_wav(
        tmp_path / "noise.wav",
        octets,
        rate_hz=form.rate_hz,
        channels=form.channels,
        bits=form.bits,
        is_float=form.is_float,
    )
    with (
        pulse.default_sink(
            "same", rate_hz=form.rate_hz, sample_format=form.sink, channels=form.channels
        ) as sink,
        pulse.listening(device=f"{sink}.monitor") as ears,
    ):
        assert work.run("play", str(file)) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


@pytest.mark.parametrize(
    ("wire", "server", "sample_octets"),
    [("s16_le", "s16le", 2), ("s24_le", "s24-32le", 4), ("u8", "u8", 1)],
)
def test_raw_samples_from_stdin_are_heard_octet_for_octet(
    pulse: PulseServer, work: Guest, wire: str, server: str, sample_octets: int
) -> None:
    played = noise(SECONDS, rate_hz=44100, frame_octets=sample_octets)
    options = (f"--format={wire}", "--rate=44100", "--channels=1")
    with (
        pulse.default_sink("same", rate_hz=44100, sample_format=server, channels=1) as sink,
        pulse.listening(device=f"{sink}.monitor") as ears,
    ):
        assert work.run("play", "-", *options, stdin=played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


@pytest.mark.parametrize("frames", [1, 480, 4800])
def test_wav_shorter_than_the_buffer_is_heard_whole(
    pulse: PulseServer, work: Guest, tmp_path: Path, frames: int
) -> None:
    played = noise(frames / 48000)
    with pulse.listening() as ears:
        assert work.run("play", str(write_wav(tmp_path / "short.wav", played))) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
        assert ears.heard.strip(b"\0") == played


def test_empty_wav_ends_at_once(pulse: PulseServer, work: Guest, tmp_path: Path) -> None:
    with pulse.listening() as ears:
        assert work.run("play", str(write_wav(tmp_path / "empty.wav", b""))) == PLAYED
        assert not ears.heard.strip(b"\0")


def test_nothing_on_stdin_ends_at_once(work: Guest) -> None:
    assert work.run("play", "-") == PLAYED


def test_part_of_a_frame_at_the_end_of_stdin_is_left_out(pulse: PulseServer, work: Guest) -> None:
    played = noise(0.3)
    with pulse.listening() as ears:
        assert work.run("play", "-", stdin=played + b"\1\2\3") == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
        assert ears.heard.strip(b"\0") == played


def test_one_sound_after_the_other_is_heard_each_time(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    sounds = [noise(0.2, seed=seed) for seed in range(2)]
    with pulse.listening() as ears:
        for played in sounds:
            assert work.run("play", str(write_wav(tmp_path / "noise.wav", played))) == PLAYED
            assert ears.hears(played), difference(played, ears.heard)


def test_a_stream_is_opened_and_closed_in_the_audit_trail(
    dom0: Dom0, work: Guest, tmp_path: Path
) -> None:
    work.run("play", str(write_wav(tmp_path / "noise.wav", noise(0.2))))
    dom0.await_event("device_disconnected", guest="work", domid=work.domid)
    trail = [event["EVENT"] for event in dom0.events(guest="work", domid=work.domid)]
    assert trail == [
        "device_made",
        "device_connected",
        "stream_opened",
        "decision",
        "stream_started",
        "stream_stopped",
        "stream_closed",
        "device_disconnected",
    ]
