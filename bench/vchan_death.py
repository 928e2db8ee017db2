"""`python -m bench.vchan_death`: the agent is killed while a guest records, over vchan and over
sndif. How long it is from the death until the guest has the first octet of the microphone again
that is not silence; and on the way there, until the recording was taken over, and until its source
was admitted, as the trail has it.

Wanted: back within a second. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pulsectl

from bench.life import when
from bench.processes import MEMORY
from bench.vchan import POLICY, RATE_HZ
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import PulseServer, feed, noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import PIPEWIRE, PULSEAUDIO, Habits, VchanGuest
from tests.support.vchan_server import LEFT_PROD

LIVES_SECONDS = 1.2  # an agent that lives for less than a second is not followed at once
LOOK_SECONDS = 0.001
READ_SECONDS = 0.008  # after which nothing comes of an agent that has died
PATIENCE_SECONDS = 10.0

SERVERS = {
    "PulseAudio": None,
    "PipeWire, by PulseAudio's protocol": ServerProtocol.PULSEAUDIO,
    "PipeWire, by its own": ServerProtocol.PIPEWIRE,
}
Server = PulseServer | PipeWireServer


class Recording(Protocol):
    def listen(self, seconds: float) -> None:
        """Let it record for so long."""

    def await_sound(self) -> float:
        """Return when the guest has something that is not silence, and that it had not when this
        was called. In seconds of the wall clock."""


@dataclass(frozen=True, slots=True)
class RingOf:
    """What is written into the guest's ring, whether the guest has read it or not."""

    guest: VchanGuest

    def listen(self, seconds: float) -> None:
        time.sleep(seconds)

    def await_sound(self) -> float:
        _, server = self.guest.servers
        known, end = server.index(LEFT_PROD), time.time() + PATIENCE_SECONDS
        while time.time() < end:
            if (written := server.index(LEFT_PROD)) != known:
                octets = ctypes.string_at(server.left, server.left_octets) * 2
                start = known % server.left_octets
                if octets[start : start + (written - known) % 2**32].strip(b"\0"):
                    return time.time()
                known = written
            time.sleep(LOOK_SECONDS)
        raise TimeoutError("the recording stays silent")


class OutputOf:
    """What a process gives, which gives all that it has at once."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._fd = process.stdout.fileno()

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                os.read(self._fd, 1 << 16)

    def await_sound(self) -> float:
        while select.select([self._fd], [], [], READ_SECONDS)[0]:
            os.read(self._fd, 1 << 16)
        while select.select([self._fd], [], [], PATIENCE_SECONDS)[0]:
            if os.read(self._fd, 1 << 16).strip(b"\0"):
                return time.time()
        raise TimeoutError("the recording stays silent")


@contextmanager
def over_vchan(machine: LocalMachine, habits: Habits, dom0: Dom0) -> Iterator[Recording]:
    with VchanGuest(machine, "work", habits) as guest:
        assert eventually(lambda: guest.is_connected), dom0.end_of_log
        guest.start_recording()
        yield RingOf(guest)
    machine.destroy("work")


@contextmanager
def over_sndif(machine: LocalMachine, dom0: Dom0) -> Iterator[Recording]:
    guest = Guest(machine, "work")
    dom0.await_event("device_made", guest="work")
    command = [sys.executable, "-m", "bench.recorder", machine.url, "work"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as recording:
        yield OutputOf(recording)
        recording.terminate()
    guest.destroy()


@contextmanager
def speaking(server: Server, seconds: float) -> Iterator[None]:
    """A microphone, the default one, that is never silent."""
    with server.mixer() as mixer:
        for module, options in (
            ("module-null-sink", f"sink_name=voice rate={RATE_HZ} channels=2"),
            ("module-remap-source", "source_name=microphone master=voice.monitor"),
        ):
            mixer.module_load(module, options)
        assert eventually(lambda: _prefer(mixer, "microphone"))
    command = ["pacat", "--raw", "--device=voice", "--latency-msec=20"]
    command += [f"--rate={RATE_HZ}", "--channels=2", "--format=s16le"]
    with subprocess.Popen(command, env=server.environment, stdin=subprocess.PIPE) as speaker:
        feeder = feed(speaker, [noise(seconds, rate_hz=RATE_HZ)])
        yield
        speaker.kill()
        feeder.join()


def _prefer(mixer: Any, source: str) -> bool:
    """Whether PipeWire's session manager is ready to be told."""
    with suppress(pulsectl.PulseOperationFailed):
        mixer.source_default_set(source)
        return bool(mixer.server_info().default_source_name == source)
    return False


def kill(dom0: Dom0, recording: Recording) -> tuple[float, float, float]:
    """Return the seconds from the death to the take-over, to the source, and to the sound."""
    kinds = ("stream_taken_over", "source_admitted")
    known = {kind: len(dom0.events(kind, direction="capture")) for kind in kinds}
    agent = os.pidfd_open(dom0.agent_pid)
    recording.listen(LIVES_SECONDS)
    since = time.time()
    signal.pidfd_send_signal(agent, signal.SIGKILL)
    select.select([agent], [], [], PATIENCE_SECONDS)
    os.close(agent)
    sound = recording.await_sound()
    over, admitted = (
        when(dom0.await_event(kind, count=known[kind] + 1, direction="capture")) for kind in kinds
    )
    return over - since, admitted - since, sound - since


def row(name: str, seconds: list[tuple[float, float, float]]) -> str:
    columns = [[each * 1000 for each in column] for column in zip(*seconds, strict=True)]
    figures = [f"{statistics.median(each):9.0f}{max(each):7.0f}" for each in columns]
    return f"{name:46}{''.join(figures)}"


def measure(
    server: Server, address: str, prefix: list[str], directory: Path, name: str, count: int
) -> None:
    fronts: dict[str, Callable[[LocalMachine, Dom0], Any]] = {
        "vchan, as PulseAudio has it": lambda xen, dom0: over_vchan(xen, PULSEAUDIO, dom0),
        "vchan, as PipeWire has it": lambda xen, dom0: over_vchan(xen, PIPEWIRE, dom0),
        "sndif": over_sndif,
    }
    print(f"{name:46}{'taken over':>16}{'source':>16}{'sound':>16}")
    with (
        speaking(server, len(fronts) * (count + 2) * (LIVES_SECONDS + 1) + 30),
        LocalMachine(directory / "xen") as machine,
        Dom0(
            *(directory / "dom0", machine.url, address),
            policy=POLICY,
            options=["--vchan"],
            prefix=prefix,
        ) as dom0,
    ):
        for front, recording in fronts.items():
            with recording(machine, dom0) as arrives:
                arrives.await_sound()
                found = [kill(dom0, arrives) for _ in range(count)]
            print(row(f"  {front}", found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--only", choices=list(SERVERS))
    options = parser.parse_args()
    print(f"ms, median and worst of {options.count}")
    for name, protocol in SERVERS.items():
        if options.only not in {None, name}:
            continue
        with tempfile.TemporaryDirectory(prefix="xensnd-bench-", dir=MEMORY) as directory:
            path = Path(directory)
            if protocol is None:
                with PulseServer(path / "pulse") as pulse:
                    measure(pulse, pulse.address, [], path, name, options.count)
            else:
                with PipeWireServer(path / "pipewire") as pipewire:
                    address = pipewire.address_for(protocol)
                    prefix = pipewire.agent_prefix
                    measure(pipewire, address, prefix, path, name, options.count)


if __name__ == "__main__":
    main()
