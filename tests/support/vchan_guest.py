"""A Qubes guest's sound, as module-vchan-sink of PulseAudio and qubes-pw-module of PipeWire do it:
the same rings, control words and habits of closing.
"""

from __future__ import annotations

import select
import struct
import threading
from dataclasses import dataclass
from typing import Self

from tests.support.local_machine import LocalMachine
from tests.support.urgency import urgent_block
from tests.support.vchan_server import VchanServer
from xensnd.errors import TransportLost
from xensnd.vchan.control import ControlWord
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

SECOND_OCTETS = 44100 * 4
HELLO = 0x00010004  # what the PipeWire module says first
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Habits:
    """Of one module: the orders of its rings (left, right), and the least that it reads at once."""

    playback: tuple[int, int]
    capture: tuple[int, int]
    says_hello: bool = False
    target_octets: int = 1 << 20  # how much of the playback ring it fills


PULSEAUDIO = Habits(playback=(11, 13), capture=(13, 11))
PIPEWIRE = Habits(playback=(11, 16), capture=(20, 11), says_hello=True, target_octets=8192)


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
        self.reads = True
        self._to_play = bytearray()
        self._words: list[int] = []
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._restarts = False
        self._runs = threading.Event()
        self._runs.set()
        self._servers: tuple[VchanServer, VchanServer] | None = None
        self._thread = threading.Thread(target=self._run)
        self._urgency = urgent_block()

    def __enter__(self) -> Self:
        self._urgency.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._runs.set()
        self._thread.join()
        self._urgency.__exit__(None, None, None)

    # What its applications do

    def play(self, octets: bytes) -> None:
        """Play after what it plays already."""
        with self._lock:
            self._to_play += octets

    def say(self, *words: int) -> None:
        with self._lock:
            self._words += words

    def start_recording(self) -> None:
        self.say(ControlWord.SOURCE_START)

    def stop_recording(self) -> None:
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

    def _pump(self, playback: VchanServer, capture: VchanServer) -> None:
        with self._lock:
            while self._words and capture.space() >= 4:
                capture.write(struct.pack("<I", self._words.pop(0)))
            room = self.habits.target_octets - (playback.right_octets - playback.space())
            if self._to_play and room > 0:
                del self._to_play[: playback.write(bytes(self._to_play[:room]))]
        if self.reads and (queued := capture.readable()):
            self.ages.append(queued / SECOND_OCTETS)
            self.recorded += capture.read()

    def _await(self, servers: tuple[VchanServer, VchanServer]) -> None:
        self._runs.wait()
        fds = [server.channel.fds.wait_fd for server in servers]
        select.select(fds, [], [], POLL_SECONDS)
        for server in servers:
            server.channel.clear()
