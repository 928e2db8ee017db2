"""What an application plays first, before dom0 has begun to play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Guest
from tests.support.applications import playing
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_backend import RawBackend
from tests.support.raw_frontend import eventually, words
from xensnd.sndif.packets import Close, HwParamQuery, Open, TriggerRequest
from xensnd.sndif.states import XenbusState


@pytest.fixture
def backend(work: Guest, machine: LocalMachine) -> RawBackend:
    backend = RawBackend(machine.transport(), machine.open_store(), work.domid)
    backend.make_device()
    return backend


@pytest.fixture
def guest_pulse(tmp_path: Path) -> Iterator[PulseServer]:
    with PulseServer(tmp_path / "guest") as server:
        yield server


def test_sound_is_in_the_ring_before_dom0_has_moved_its_position(
    work: Guest, backend: RawBackend, guest_pulse: PulseServer
) -> None:
    with (
        work.start("serve", f"--server={guest_pulse.address}") as serving,
        playing(guest_pulse, noise(30)),
    ):
        stream = backend.connect()
        assert isinstance(stream.accept(), HwParamQuery)
        opened = stream.accept()
        assert isinstance(opened, Open)
        assert isinstance(stream.accept(), TriggerRequest)
        buffer = words(backend.map_buffer(opened))
        assert eventually(lambda: any(buffer)), serving.errors
        serving.process.terminate()
        while not isinstance(stream.accept(), Close):
            pass
        backend.await_frontend(XenbusState.CLOSING)
        backend.let_go()
        assert serving.ended().status == 0
