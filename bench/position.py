"""`python -m bench.position`: whether the position that a guest is told is that of its sound.

A guest plays frames that carry their number. The monitor of the sink is recorded, and says when
each of them is audible. Beside that stands when the guest was told that position. Late is positive.
Nothing is asserted; wanted are 2 ms at the median and 5 ms for 99 of 100.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import struct
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measure import percentile
from bench.processes import build_heard, build_heard_pipewire, running
from tests.support.agents import Dom0, Guest, driver_of
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import SINK, PulseServer
from tests.support.raw_frontend import RawStream, words
from tests.support.shared_pages import (
    EVENT_HEADER_OCTETS,
    EVENT_SLOTS,
    IN_CONS_OFFSET,
    IN_PROD_OFFSET,
    REQ_EVENT_OFFSET,
)
from tests.support.urgency import Urgency
from xensnd.sndif.packets import (
    PACKET_OCTETS,
    Request,
    Trigger,
    TriggerRequest,
    Write,
    decode_event,
    encode_request,
)

RATE_HZ = 48000
FRAME_OCTETS = 4
BUFFER_FRAMES = 8192
SETTLE_SECONDS = 2.0
NS_A_FRAME = 1e9 / RATE_HZ


@dataclass(frozen=True, slots=True)
class Told:
    """A position, and when the guest was told it."""

    time_ns: int
    frames: int


class Player:
    """Keeps its buffer filled, and notes the positions that it is told."""

    def __init__(self, stream: RawStream, period_frames: int) -> None:
        self._stream = stream
        self._written = 0
        self._taken = 0  # events
        self.told: list[Told] = []
        opening = replace(
            stream.good_open(),
            buffer_octets=BUFFER_FRAMES * FRAME_OCTETS,
            period_octets=period_frames * FRAME_OCTETS,
        )
        assert stream.ask(opening) == 0

    def play(self, seconds: float) -> None:
        self._fill(0)
        assert self._stream.ask(TriggerRequest(Trigger.START)) == 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for frames in self._await_positions():
                self._fill(frames)

    def _await_positions(self) -> Iterator[int]:
        fd = self._stream.events.fds.wait_fd
        assert select.select([fd], [], [], 10)[0], "nothing is told"
        now_ns = time.monotonic_ns()
        os.eventfd_read(fd)
        octets = self._stream.event_words.cast("B")
        while self._taken != self._stream.event_words[IN_PROD_OFFSET // 4]:
            at = EVENT_HEADER_OCTETS + self._taken % EVENT_SLOTS * PACKET_OCTETS
            position = decode_event(bytes(octets[at : at + PACKET_OCTETS]))[1].position_octets
            self._taken += 1
            self._stream.event_words[IN_CONS_OFFSET // 4] = self._taken
            self.told.append(Told(now_ns, position // FRAME_OCTETS))
            yield position // FRAME_OCTETS

    def _fill(self, position: int) -> None:
        frames = array("I", range(self._written + 1, position + BUFFER_FRAMES + 1)).tobytes()
        at = self._written % BUFFER_FRAMES * FRAME_OCTETS
        first = min(len(frames), BUFFER_FRAMES * FRAME_OCTETS - at)
        buffer = words(self._stream.buffer).cast("B")
        buffer[at : at + first] = frames[:first]
        buffer[: len(frames) - first] = frames[first:]
        for offset, octets in ((at, first), (0, len(frames) - first)):
            if octets:
                self._request(Write(offset, octets))
        self._written = position + BUFFER_FRAMES

    def _request(self, request: Request) -> None:
        """Without waiting for the answer; notifies the backend only if it has asked for that."""
        stream = self._stream
        stream.put(encode_request(stream.sent & 0xFFFF, request))
        if stream.ring[REQ_EVENT_OFFSET // 4] == stream.sent:
            stream.requests.notify()


def audible_at_ns(log: Path) -> tuple[float, float]:
    """Returns when frame 0 would have been audible, and when it would have arrived: the medians.
    The sink plays by the system's clock, so one number says it for all frames."""
    records = list(struct.iter_unpack("<qqq", log.read_bytes()))
    records = records[len(records) // 4 :]  # libpulse's times settle
    audible = statistics.median(at - frame * NS_A_FRAME for _, at, frame in records)
    arrived = statistics.median(at - frame * NS_A_FRAME for at, _, frame in records)
    return audible, arrived


def late_ms(told: Sequence[Told], zero_ns: float) -> list[float]:
    since_ns = told[0].time_ns + SETTLE_SECONDS * 1e9
    return [
        (each.time_ns - zero_ns - each.frames * NS_A_FRAME) / 1e6
        for each in told
        if each.time_ns > since_ns
    ]


@dataclass(frozen=True, slots=True)
class Room:
    """An audio server with a sink, how an agent reaches it, and who hears what the sink plays."""

    address: str
    agent_prefix: Sequence[str]
    listen: Sequence[str]  # and a log's name


@contextmanager
def pulseaudio(directory: Path) -> Iterator[Room]:
    heard = str(build_heard(directory))
    with PulseServer(directory / "pulse") as pulse:
        yield Room(pulse.address, (), (heard, pulse.address, f"{SINK}.monitor"))


@contextmanager
def pipewire(directory: Path) -> Iterator[Room]:
    """By its own protocol, on both sides."""
    heard = str(build_heard_pipewire(directory))
    with PipeWireServer(directory / "pipewire") as server:
        with server.mixer() as mixer:
            mixer.module_load("module-null-sink", f"sink_name={SINK} rate={RATE_HZ} channels=2")
        address = server.address_for(ServerProtocol.PIPEWIRE)
        remote = address.removeprefix("pipewire:")
        yield Room(address, server.agent_prefix, (heard, remote, SINK))


SERVERS: dict[str, Callable[[Path], AbstractContextManager[Room]]] = {
    "pulseaudio": pulseaudio,
    "pipewire": pipewire,
}


def bench(directory: Path, period_frames: int, options: argparse.Namespace) -> str:
    directory.mkdir()
    log = directory / "heard.log"
    with (
        SERVERS[options.server](directory) as room,
        LocalMachine(directory / "xen") as machine,
        Dom0(
            directory / "dom0",
            machine.url,
            room.address,
            options=[f"--latency={options.latency}"],
            prefix=room.agent_prefix,
        ) as dom0,
        driver_of(machine, dom0, Guest(machine, "guest")) as driver,
        running(*room.listen, str(log), urgency=Urgency.SERVER),
    ):
        player = Player(driver.connect(), period_frames)
        player.play(SETTLE_SECONDS + options.seconds)
        driver.forget_streams()
    audible_ns, arrived_ns = audible_at_ns(log)
    late = late_ms(player.told, audible_ns)
    within = [abs(each) for each in late]
    return (
        f"{period_frames:6}{len(late) / options.seconds:10.0f}"
        f"{percentile(late, 1):10.2f}{statistics.median(late):8.2f}{percentile(late, 99):8.2f}"
        f"{statistics.median(within):10.2f}{percentile(within, 99):8.2f}"
        f"{statistics.median(late_ms(player.told, arrived_ns)):12.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="pulseaudio")
    parser.add_argument("--periods", type=int, nargs="+", default=[480, 1024, 441, 2048])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--latency", type=int, default=20, metavar="MS", help="default 20")
    options = parser.parse_args()
    print(
        f"{options.server}, 48 kHz stereo S16, latency asked {options.latency} ms; "
        "times in ms, late is positive"
    )
    print(
        f"{'period':>6}{'told':>10}{'told late by':>18}{'':8}{'away from truth':>18}"
        f"{'after it came':>14}\n"
        f"{'frames':>6}{'a second':>10}{'p1':>10}{'median':>8}{'p99':>8}{'median':>10}{'p99':>8}"
        f"{'to the ears':>12}"
    )
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
        for period in options.periods:
            directory = Path(name) / f"period{period}"
            print(bench(directory, period, options), flush=True)


if __name__ == "__main__":
    main()
