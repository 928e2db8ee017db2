"""What a Qubes guest records when dom0's audio server, or the guest itself, is late by more than
the 46 ms that its ring holds."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.agents import Dom0
from tests.support.heard import gaps
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import PulseServer, difference, feed, noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import SECOND_OCTETS, VchanGuest

RATE_HZ = 44100
TIMES = 8
SERVER_LATE_SECONDS = 0.07  # it then gives so much at once
GUEST_LATE_SECONDS = 0.055
ON_TIME_SECONDS = 0.2
MONITOR = "voice.monitor"
POLICY = (
    'version: 1\nrules:\n  - {guest: "*", playback: allow}\n'
    f'  - {{guest: "*", capture: allow, device: {MONITOR}, monitor: allow}}\n'
)
SPEAKER = ["pacat", "--raw", "--device=voice", "--latency-msec=500", f"--rate={RATE_HZ}"]


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """One that may be held up, with a sink "voice"."""
    with PulseServer(tmp_path / "pulse") as pulse, pulse.sink("voice", rate_hz=RATE_HZ):
        yield pulse


@pytest.fixture
def pipewire(tmp_path: Path) -> Iterator[PipeWireServer]:
    """Of the rate that guests have, so that it gives what they are to record octet for octet."""
    with PipeWireServer(tmp_path / "pipewire") as pipewire:
        subprocess.run(
            ["pw-metadata", "-n", "settings", "0", "clock.force-rate", str(RATE_HZ)],
            env=pipewire.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with pipewire.mixer() as mixer:
            mixer.module_load("module-null-sink", f"sink_name=voice rate={RATE_HZ} channels=2")
        yield pipewire


@contextmanager
def guest_that_records(
    tmp_path: Path, machine: LocalMachine, server: PulseServer | PipeWireServer, spoken: bytes
) -> Iterator[tuple[Dom0, VchanGuest]]:
    """Something of `spoken` already."""
    address, prefix = server.address, list[str]()
    if isinstance(server, PipeWireServer):
        address, prefix = server.address_for(ServerProtocol.PIPEWIRE), server.agent_prefix
    with ExitStack() as stack:
        dom0 = stack.enter_context(
            Dom0(
                *(tmp_path / "dom0", machine.url, address),
                policy=POLICY,
                options=["--vchan"],
                prefix=prefix,
            )
        )
        guest = VchanGuest(machine, "work")
        stack.callback(machine.destroy, guest.name)
        stack.enter_context(guest)
        assert eventually(lambda: guest.is_connected), dom0.end_of_log
        speaking = stack.enter_context(
            subprocess.Popen(SPEAKER, env=server.environment, stdin=subprocess.PIPE)
        )
        stack.callback(feed(speaking, [spoken]).join)
        stack.callback(speaking.kill)
        guest.start_recording()
        assert eventually(lambda: len(bytes(guest.recorded).strip(b"\0")) > SECOND_OCTETS // 4)
        yield dom0, guest
    assert "Traceback" not in dom0.log


def late_octets(dom0: Dom0) -> int:
    [stream] = [
        stream
        for device in dom0.shown("work")["devices"]
        for stream in device["streams"]
        if stream["direction"] == "capture"
    ]
    return int(stream["late_octets"])


def assert_is_whole(dom0: Dom0, guest: VchanGuest, spoken: bytes) -> None:
    late = late_octets(dom0)
    guest.stop_recording()
    dom0.await_event("stream_closed", guest="work", direction="capture")
    recorded = bytes(guest.recorded).strip(b"\0")
    assert len(recorded) > SECOND_OCTETS
    assert recorded in spoken, (late, gaps(recorded, spoken), difference(recorded, spoken))
    assert late == 0


def test_what_the_audio_server_gives_late_and_at_once_is_recorded_octet_for_octet(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer
) -> None:
    spoken = noise(10, rate_hz=RATE_HZ)
    assert pulse.process is not None
    with guest_that_records(tmp_path, machine, pulse, spoken) as (dom0, guest):
        for _ in range(TIMES):
            pulse.process.send_signal(signal.SIGSTOP)
            time.sleep(SERVER_LATE_SECONDS)
            pulse.process.send_signal(signal.SIGCONT)
            time.sleep(ON_TIME_SECONDS)
        assert_is_whole(dom0, guest, spoken)


@pytest.mark.parametrize("kind", ["pulse", "pipewire"])
def test_guest_that_is_late_for_longer_than_its_ring_is_records_octet_for_octet(
    tmp_path: Path, machine: LocalMachine, request: pytest.FixtureRequest, kind: str
) -> None:
    spoken = noise(10, rate_hz=RATE_HZ)
    server = request.getfixturevalue(kind)
    with guest_that_records(tmp_path, machine, server, spoken) as (dom0, guest):
        for _ in range(TIMES):
            guest.pause()
            time.sleep(GUEST_LATE_SECONDS)
            guest.resume()
            time.sleep(ON_TIME_SECONDS)
        assert_is_whole(dom0, guest, spoken)
