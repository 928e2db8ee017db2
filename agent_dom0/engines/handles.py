"""Handles on the core in another process: the same as xensnd.core's, over calls.

The gate of a recording is in memory that both processes share. It is closed there, without a call,
and nothing is waited for but the part that is being copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from typing import Any, Protocol, TypeVar

from agent_dom0.engines import replies
from agent_dom0.engines.gates import SharedGate
from agent_dom0.engines.interface import EngineLost
from agent_dom0.engines.replies import Snapshot, StreamSeen, flag, integer, nothing
from xensnd.core import (
    Admission,
    AudioClient,
    AudioStreamConfig,
    BackendStats,
    BackendStream,
    ClientState,
    PcmParameters,
    SoundCore,
    VchanCore,
    Violation,
)
from xensnd.errors import AudioUnavailable
from xensnd.transport.interface import EventChannel, EventFds

GATE_USEC = 20_000  # a part is copied in some microseconds, if its process runs
T = TypeVar("T")


class Caller(Protocol):
    """The engine that the handles are of."""

    def call(
        self, check: Callable[[object], T], do: str, fds: Sequence[int] = (), /, **arguments: object
    ) -> T:
        """Return the result as `check` does. Raises EngineLost, or what the other process has
        raised."""

    def call_if_running(
        self, check: Callable[[object], T], do: str, /, **arguments: object
    ) -> T | None:
        """Call what has no object once the process has ended. Returns None then."""

    def look(self, check: Callable[[object], T], do: str, /, **arguments: object) -> T | None:
        """Ask what changes nothing. Returns None if the process has ended, or is late."""

    def snapshot(self) -> Snapshot: ...

    def fail(self, why: str) -> None:
        """End the process: it does what it cannot do, or hangs."""


class ChannelApart(EventChannel):
    """`end` ends the channel itself, after the process has given up its descriptors."""

    def __init__(
        self, engine: Caller, port: int, number: int, fds: EventFds, end: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._end = end
        self._port = port
        self._number = number
        self._fds = fds
        self._is_open = True

    @property
    def port(self) -> int:
        return self._port

    @property
    def fds(self) -> EventFds:
        return self._fds

    def notify(self) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._engine.call_if_running(nothing, "end", channel=self._number)
            self._end()


class ClientApart(AudioClient):
    def __init__(self, engine: Caller, server: str | None, properties: Mapping[str, str]) -> None:
        self._engine = engine
        self.handle: Any = engine.call(
            integer, "connect", server=server, properties=dict(properties)
        )

    @property
    def state(self) -> ClientState:
        return self._seen()[0]

    @property
    def error(self) -> str:
        return self._seen()[1]

    def close(self) -> None:
        if self.handle:
            self._engine.call_if_running(nothing, "disconnect", client=self.handle)
            self.handle = None

    def _seen(self) -> tuple[ClientState, str]:
        seen = self._engine.snapshot()
        lost = ClientState.FAILED, "its engine has ended"
        unknown = (ClientState.CONNECTING, "") if seen.is_late else lost
        return seen.clients.get(str(self.handle), unknown)


class SoundApart(SoundCore):
    """What all streams have. `shared` is the address of the file that the core keeps its part in;
    None: there is none."""

    def __init__(self, engine: Caller, number: int, shared: int | None, gate: SharedGate) -> None:
        self._engine = engine
        self._number = number
        self._shared = shared
        self._gate = gate
        self._stats = BackendStats(*(0 for _ in BackendStats.__slots__))
        self.handle: Any = number

    def begin(self, *, succeeds: bool = False) -> None:
        self._call(nothing, "begin", succeeds)

    @property
    def violation(self) -> Violation:
        return self._seen.violation

    def start(self) -> None:
        self._call(nothing, "start")

    def stop(self) -> None:
        self._call_if_running(nothing, "stop")

    def attach_audio(self, client: AudioClient, config: AudioStreamConfig) -> None:
        arguments = {"client": client.handle, "config": asdict(config)}
        try:
            self._engine.call(nothing, "attach_audio", stream=self._number, **arguments)
        except EngineLost as error:
            raise AudioUnavailable(str(error)) from error

    def detach_audio(self) -> None:
        self._call_if_running(nothing, "detach_audio")

    def open_gate(self, until_usec: int | None = None) -> None:
        self._gate.open(until_usec)

    def close_gate(self) -> None:
        if not self._gate.close(within_usec=GATE_USEC):
            self._engine.fail("it does not leave the gate of a recording")

    def recent(self, octets: int) -> bytes:
        return self._look(replies.octets(0, octets), "recent", octets) or b""

    @property
    def source(self) -> tuple[int, str] | None:
        return self._seen.source

    def admit_source(self, index: int, name: str) -> Admission:
        return self._admit("admit_source", index, name)

    def admit_microphone(self, index: int, name: str) -> Admission:
        return self._admit("admit_microphone", index, name)

    def _admit(self, verb: str, index: int, name: str) -> Admission:
        try:
            return self._call(replies.admission, verb, index, name)
        except EngineLost:
            return Admission.NOT_ITS_SOURCE

    @property
    def audio_error(self) -> str | None:
        return self._seen.audio_error

    @property
    def audio_index(self) -> int | None:
        return self._seen.audio_index

    def stats(self) -> BackendStats:
        """As they were last, if the process has ended or is late."""
        self._stats = self._look(replies.stats, "stats") or self._stats
        return self._stats

    def close(self) -> None:
        if self.handle is not None:
            self.handle = None
            self._engine.call_if_running(nothing, "free", stream=self._number)
            if self._shared is not None:
                self._engine.call_if_running(nothing, "unmap", address=self._shared)
            self._gate.free()

    @property
    def _seen(self) -> StreamSeen:
        return self._engine.snapshot().streams.get(str(self._number), _NOTHING)

    def _call(self, check: Callable[[object], T], verb: str, *arguments: object) -> T:
        return self._engine.call(
            check, "of_stream", stream=self._number, verb=verb, arguments=list(arguments)
        )

    def _look(self, check: Callable[[object], T], verb: str, *arguments: object) -> T | None:
        return self._engine.look(
            check, "of_stream", stream=self._number, verb=verb, arguments=list(arguments)
        )

    def _call_if_running(
        self, check: Callable[[object], T], verb: str, *arguments: object
    ) -> T | None:
        return self._engine.call_if_running(
            check, "of_stream", stream=self._number, verb=verb, arguments=list(arguments)
        )


class StreamApart(SoundApart, BackendStream):
    def next_request(self) -> bytes | None:
        return self._seen.request

    def answer(self, response: bytes) -> None:
        self._call(nothing, "answer", response.hex())

    def open_pcm(self, config: PcmParameters, buffer_address: int) -> None:
        self.close_gate()
        arguments = {"config": astuple(config), "address": buffer_address}
        self._engine.call(nothing, "open_pcm", stream=self._number, **arguments)

    def adopt_pcm(self, config: PcmParameters, buffer_address: int) -> bool:
        self.close_gate()
        arguments = {"config": astuple(config), "address": buffer_address}
        return self._engine.call(flag, "adopt_pcm", stream=self._number, **arguments)

    def close_pcm(self) -> None:
        self._call_if_running(nothing, "close_pcm")

    def peek(self, offset: int, octets: int) -> bytes:
        return self._call(replies.octets(octets, octets), "peek", offset, octets)

    def poke(self, offset: int, data: bytes) -> None:
        self._call(nothing, "poke", offset, data.hex())


class VchanApart(SoundApart, VchanCore):
    def hand_over(self) -> None:
        if self.handle is not None:
            self._call_if_running(nothing, "hand_over")
            self.close()

    @property
    def is_open(self) -> bool:
        return self._seen.is_open

    def next_word(self) -> int | None:
        return self._seen.word

    def drop_word(self) -> None:
        self._call(nothing, "drop_word")

    def reset(self) -> None:
        self.close_gate()
        self._call_if_running(nothing, "reset")


_NOTHING = StreamSeen(Violation.NONE)
