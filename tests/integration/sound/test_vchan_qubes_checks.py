"""What Qubes' own tests of audio ask of whatever serves its guests: a tone within a fifth of its
frequency, 95 of 100 samples, silence for a microphone that is denied, the keys of dom0:mic in two
seconds, a pidfile, and streams named after their guest."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest

from tests.support.agents import PATIENT, Dom0
from tests.support.local_machine import LocalMachine
from tests.support.pacat import Pacat
from tests.support.pulse_server import PulseServer, sink_input
from tests.support.qubesdb import QubesDbDaemon
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import PIPEWIRE, PULSEAUDIO, SECOND_OCTETS, Habits, VchanGuest

RATE_HZ = 44100
TONE_HZ = 441
TONE_SECONDS = 3
LOUD = 1000
KEYS_SECONDS = 2
ATTACHED_ALONE = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: deny\n'


@pytest.fixture
def qubesdb(tmp_path: Path) -> Iterator[QubesDbDaemon]:
    with QubesDbDaemon(tmp_path / "qubesdb.sock") as daemon:
        yield daemon


@pytest.fixture
def dom0(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, qubesdb: QubesDbDaemon
) -> Iterator[Dom0]:
    """As on Qubes: guests are registered, and record when their microphone is attached."""
    options = [PATIENT, "--vchan=registered", f"--qubesdb={qubesdb.path}"]
    directory, url, server = tmp_path / "dom0", machine.url, pulse.address
    with Dom0(directory, url, server, policy=ATTACHED_ALONE, options=options) as dom0:
        yield dom0
        assert "Traceback" not in dom0.log


@pytest.fixture(params=[PULSEAUDIO, PIPEWIRE], ids=["PulseAudio", "PipeWire"])
def qube(
    request: pytest.FixtureRequest, tmp_path: Path, machine: LocalMachine, dom0: Dom0
) -> Iterator[VchanGuest]:
    habits = request.param
    assert isinstance(habits, Habits)
    with VchanGuest(machine, "work", habits) as qube:
        try:
            with Pacat(tmp_path, dom0.control, qube.domid, qube.name) as pacat:
                assert int(pacat.pidfile.read_text()) == pacat.pid
                assert eventually(lambda: qube.is_connected), dom0.end_of_log
                yield qube
            assert not pacat.pidfile.exists()
        finally:
            machine.destroy("work")


def sine(seconds: float) -> bytes:
    """Stereo S16."""
    lap = RATE_HZ // TONE_HZ
    wave = [round(16000 * math.sin(2 * math.pi * i / lap)) for i in range(lap)]
    both = array("h", (sample for sample in wave for _ in range(2)))
    return both.tobytes() * round(seconds * TONE_HZ)


def assert_tone(heard: bytes) -> None:
    """Of all that was to sound, nearly all is there, and sounds as it should."""
    left = memoryview(heard[: len(heard) // 4 * 4]).cast("h")[::2].tolist()
    quiet = 16000 * math.sin(math.pi / 100)  # a fiftieth of a tone's samples are as quiet
    assert sum(abs(sample) > quiet for sample in left) >= 0.95 * TONE_SECONDS * RATE_HZ
    crossings = [i for i, (a, b) in enumerate(pairwise(left)) if a < 0 <= b and b - a < 16000]
    hertz = RATE_HZ / mean(b - a for a, b in pairwise(crossings))
    assert 0.8 * TONE_HZ < hertz < 1.2 * TONE_HZ


def is_loud(octets: bytes) -> bool:
    return max(memoryview(octets[: len(octets) // 4 * 4]).cast("h"), default=0) > LOUD


def test_tone_that_a_qube_plays_is_heard_under_its_name(
    pulse: PulseServer, qube: VchanGuest
) -> None:
    with (
        pulse.default_sink("same", rate_hz=RATE_HZ) as sink,
        pulse.listening(f"--rate={RATE_HZ}", device=f"{sink}.monitor") as ears,
        sink_input(pulse, qube.name) as now,
    ):
        qube.play(sine(TONE_SECONDS))
        ears.listen_until(is_loud)
        assert now().proplist["application.name"] == "work"
        heard = ears.listen_until(lambda heard: is_loud(heard) and not is_loud(heard[-8820:]))
    assert_tone(heard)


def test_microphone_is_recorded_while_it_is_attached_and_silent_before_and_after(
    pulse: PulseServer, qubesdb: QubesDbDaemon, qube: VchanGuest
) -> None:
    def within_two_seconds(act: Callable[[str], None], expected: str) -> None:
        began = time.monotonic()
        act(qube.name)
        assert eventually(lambda: qubesdb.mic_of(qube.name)[1] == expected)
        assert time.monotonic() - began < KEYS_SECONDS

    def record(seconds: float) -> bytes:
        qube.recorded.clear()
        qube.start_recording()
        assert eventually(lambda: len(qube.recorded) >= seconds * SECOND_OCTETS)
        qube.stop_recording()
        return bytes(qube.recorded)

    with pulse.microphone(sine(40), rate_hz=RATE_HZ):
        assert not is_loud(record(0.5))
        within_two_seconds(qubesdb.attach_mic, "1")
        assert_tone(record(TONE_SECONDS + 1))
        within_two_seconds(qubesdb.detach_mic, "0")
        assert not is_loud(record(0.5))
