"""A Qubes guest's sound, as module-vchan-sink of PulseAudio and qubes-pw-module of PipeWire do it:
the same rings, control words and habits of closing.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.support.local_machine import LocalMachine
from tests.support.vchan_server import VchanServer
from xensnd.errors import TransportLost
from xensnd.vchan.control import ControlWord
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

SECOND_OCTETS = 44100 * 4
HELLO = 0x00010004  # what the PipeWire module says first
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Habits:
    """Of one module: the orders of its rings (left, right), and how it uses them."""

    playback: tuple[int, int]
    capture: tuple[int, int]
    says_hello: bool = False
    target_octets: int = 1 << 20  # how much of the playback ring it fills
    cycle_octets: int = 0  # what it records in each cycle, of silence if need be; 0: all, at once


PULSEAUDIO = Habits(playback=(11, 13), capture=(13, 11))
PIPEWIRE = Habits(
    playback=(11, 16), capture=(20, 11), says_hello=True, target_octets=8192, cycle_octets=4096
)


class Cycles:
    """When PipeWire's module reads next: it makes its cycle longer while less than 8192 octets
    are in the ring before it reads, and shorter while there are more."""

    TARGET_OCTETS, ERROR_OCTETS_MAX = 8192, 1024
    SMOOTHING, GAIN, SUM_GAIN = 0.0116, 3.4e-6, 3.9e-4

    def __init__(self, octets: int) -> None:
        self._seconds = octets / SECOND_OCTETS
        self._due = time.monotonic()
        self._once = self._twice = self._sum = 0.0  # the error, smoothed twice, and added up

    def is_due(self, queued: int) -> bool:
        """Whether it is time to read, with so many octets in the ring."""
        if time.monotonic() < self._due:
            return False
        most = self.ERROR_OCTETS_MAX
        error = min(max(self.TARGET_OCTETS - queued, -most), most)
        self._once += self.SMOOTHING * (self.GAIN * error - self._once)
        self._twice += self.SMOOTHING * (self._once - self._twice)
        self._sum += self.SUM_GAIN * self._twice
        self._due += self._seconds / (1 - self._twice - self._sum)
        return True


class VchanGuest:
    """A domain with its sound server, in a thread of this process.

    It plays what it is given, and silence after that only if `plays_on`. When its client goes, it
    closes both vchans and offers them anew.
    """

    def __init__(
        self,
        machine: LocalMachine,
        name: str,
        habits: Habits = PULSEAUDIO,
        domid: int | None = None,
    ) -> None:
        self.name = name
        self.domid = machine.create(name) if domid is None else domid
        self.habits = habits
        self.transport = machine.transport(name)
        self.store = machine.open_store(name)
        self.client = 0  # the domain to which it offers its vchans
        self.connections = 0  # how often a client has come
        self.recorded = bytearray()
        self.ages: list[float] = []  # of what it reads, by how much was queued, in seconds
        self.on_recorded: Callable[[bytes], None] = self.recorded.extend
        self.reads = True
        self._to_play = bytearray()
        self._words: list[int] = []
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._restarts = False
        self._runs = threading.Event()
        self._runs.set()
        self._servers: tuple[VchanServer, VchanServer] | None = None
        self._cycles: Cycles | None = None  # while it records in cycles
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._runs.set()
        self._thread.join()

    # What its applications do

    def play(self, octets: bytes) -> None:
        """Play after what it plays already."""
        with self._lock:
            self._to_play += octets

    def say(self, *words: int) -> None:
        with self._lock:
            self._words += words

    def start_recording(self) -> None:
        if self.habits.cycle_octets:
            self._cycles = Cycles(self.habits.cycle_octets)
        self.say(ControlWord.SOURCE_START)

    def stop_recording(self) -> None:
        self._cycles = None
        self.say(ControlWord.SOURCE_STOP)

    def cork(self) -> None:
        self.say(ControlWord.SINK_CORK)

    def uncork(self) -> None:
        self.say(ControlWord.SINK_UNCORK)

    def restart(self) -> None:
        """Its sound server is started anew: it closes both vchans, and offers them again."""
        self._restarts = True

    def pause(self) -> None:
        """Its domain is paused, or suspended: nothing of it runs until resume()."""
        self._runs.clear()

    def resume(self) -> None:
        self._runs.set()

    def move_to(self, client: int) -> None:
        """Its module is told of another audio domain: it offers both vchans to that."""
        self.client = client
        self._restarts = True

    @property
    def is_connected(self) -> bool:
        servers = self._servers
        return servers is not None and all(server.has_client for server in servers)

    @property
    def servers(self) -> tuple[VchanServer, VchanServer]:
        """For playback and for capture."""
        assert self._servers is not None
        return self._servers

    @property
    def unplayed(self) -> int:
        """The octets that are not yet in the ring."""
        with self._lock:
            return len(self._to_play)

    def is_bound(self) -> bool:
        """Whether its event channels are bound, without which Qubes takes them for closed."""
        return all(self.transport.is_channel_bound(server.channel.port) for server in self.servers)

    # Its sound server

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                self._serve()
            except (TransportLost, OSError):  # its domain was destroyed
                return

    def _serve(self) -> None:
        """Offer both vchans, and serve them until one of them is closed."""
        self._restarts = False
        where = self.transport, self.store
        self._servers = servers = (
            VchanServer(*where, PLAYBACK_PORT, *self.habits.playback, client=self.client),
            VchanServer(*where, CAPTURE_PORT, *self.habits.capture, client=self.client),
        )
        try:
            for server in servers:
                server.offer()
            while not all(server.has_client for server in servers):
                if self._ends.is_set() or self._restarts:
                    return
                if not self.habits.says_hello:  # it does not look whether a client is there
                    self._say(servers[1])
                self._await(servers)
            self.connections += 1
            for server in servers:
                server.withdraw()
            if self.habits.says_hello:
                state = [HELLO, ControlWord.SOURCE_STOP, ControlWord.SINK_UNCORK]
                servers[1].write(struct.pack("<3I", *state))
            while not self._ends.is_set() and all(server.is_open for server in servers):
                if self._restarts:
                    return
                self._pump(*servers)
                self._await(servers)
        finally:
            self._servers = None
            for server in servers:
                server.close()

    def _say(self, capture: VchanServer) -> None:
        with self._lock:
            while self._words and capture.space() >= 4:
                capture.write(struct.pack("<I", self._words.pop(0)))

    def _pump(self, playback: VchanServer, capture: VchanServer) -> None:
        self._say(capture)
        with self._lock:
            room = self.habits.target_octets - (playback.right_octets - playback.space())
            if self._to_play and room > 0:
                del self._to_play[: playback.write(bytes(self._to_play[:room]))]
        if self.reads:
            self._record(capture)

    def _record(self, capture: VchanServer) -> None:
        queued, cycles = capture.readable(), self._cycles
        if queued == 0 if cycles is None else not cycles.is_due(queued):
            return
        self.ages.append(queued / SECOND_OCTETS)
        octets = capture.read(queued if cycles is None else self.habits.cycle_octets)
        self.on_recorded(
            octets if cycles is None else octets.ljust(self.habits.cycle_octets, b"\0")
        )

    def _await(self, servers: tuple[VchanServer, VchanServer]) -> None:
        self._runs.wait()
        fds = [server.channel.fds.wait_fd for server in servers]
        select.select(fds, [], [], POLL_SECONDS)
        for server in servers:
            server.channel.clear()
