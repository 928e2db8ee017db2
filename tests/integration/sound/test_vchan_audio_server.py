"""dom0's audio server ends and comes back, while a Qubes guest plays and records over vchan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0
from tests.support.heard import without_silence
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import SECOND_OCTETS, VchanGuest

ALLOW_ALL = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'

BACK_SECONDS_MAX = 1.0


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """One that may end, and is not started yet."""
    pulse = PulseServer(tmp_path / "pulse")
    pulse.directory.mkdir()
    yield pulse
    pulse.stop()


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    options = [PATIENT, "--vchan"]
    directory = tmp_path / "dom0"
    with Dom0(directory, machine.url, pulse.address, policy=ALLOW_ALL, options=options) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


@pytest.fixture
def guest(machine: LocalMachine, dom0: Dom0) -> Iterator[VchanGuest]:
    with VchanGuest(machine, "work") as guest:
        assert eventually(lambda: guest.is_connected), dom0.end_of_log
        yield guest
    machine.destroy("work")


def assert_goes_on_in_silence(guest: VchanGuest) -> None:
    before, recorded = guest.unplayed, len(guest.recorded)
    assert eventually(lambda: guest.unplayed < before - SECOND_OCTETS)
    assert eventually(lambda: len(guest.recorded) > recorded + SECOND_OCTETS)
    assert not without_silence(bytes(guest.recorded[recorded:]))


def test_guest_goes_on_without_the_audio_server_and_is_heard_when_it_is_back(
    guest: VchanGuest, dom0: Dom0, pulse: PulseServer
) -> None:
    guest.play(noise(60, rate_hz=44100))
    guest.start_recording()
    dom0.await_event("server_lost", guest="work")
    for _ in range(2):
        assert_goes_on_in_silence(guest)
        pulse.start()
        began = time.monotonic()
        with sink_input(pulse, "work"):
            assert time.monotonic() - began < BACK_SECONDS_MAX
        with pulse.listening() as ears:
            assert eventually(lambda: without_silence(ears.heard))
        with dom0.one_more("server_lost", guest="work"):
            pulse.kill()
    assert guest.connections == 1
