"""What is measured: the agent of a checkout, bare clients, a command, PulseAudio's tunnel."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cases import Case, Part
from bench.checkout import Checkout
from bench.cost import family
from bench.processes import build_pipewire_probe, running, running_until_said
from bench.stage import MICROPHONE, Stage, SubjectFailedError, environment_of
from tests.support.applications import AnyServer
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import SINK, PulseServer
from tests.support.raw_frontend import eventually

# PulseAudio takes 64 connections, some of which are the bench's.
CLIENTS_MAX = 60
PIPE_OCTETS = 4096  # the least that a pipe can have: 21 ms of sound


class Subject(Protocol):
    @property
    def name(self) -> str: ...

    def does(self, case: Case) -> bool:
        """Whether it can do what the case is about."""
        ...

    def performing(self, stage: Stage) -> AbstractContextManager[Sequence[int]]:
        """The processes that cost something, once they do what the case is about."""
        ...


@dataclass(frozen=True, slots=True)
class Agent:
    """xensnd-dom0 with guests of one kind."""

    checkout: Checkout
    name: str

    def does(self, case: Case) -> bool:
        return not case.part.is_path

    @contextmanager
    def performing(self, stage: Stage) -> Iterator[Sequence[int]]:
        part, settings = stage.case.part, stage.settings
        names = [f"guest{number}" for number in range(stage.case.streams)]
        log = stage.log_if_first(0, stage.heard if part.records else stage.written)
        with (
            self.checkout.machine(stage.directory / "machine", names) as url,
            self.checkout.agent(stage, url) as agent,
        ):
            guests = [*settings.prefix, *self.checkout.python("guest.py")]
            guests += [url, str(settings.latency_ms), log, *names, *_kind(part)]
            before = stage.counts()
            with running_until_said("playing", guests, stage.directory / "guests.log"):
                if not part.is_idle:  # then a guest has no stream, and need not be a client
                    stage.await_more(before, stage.case.streams)
                yield family(agent)


def _kind(part: Part) -> list[str]:
    options = {
        "--full": part.is_full,
        "--record": part.records,
        "--idle": part.is_idle,
        "--silent": part.is_silent,
    }
    return [option for option, is_given in options.items() if is_given]


@dataclass(frozen=True, slots=True)
class Bare:
    """Clients in C that do nothing else. They make their sound when they are asked for it. Or, if
    they are fed, another process makes it at its own time, as a guest does; or, if they are paced,
    another process is told when each period is over, as a guest is."""

    name: str
    plays: str = "play"  # or "relay", or "pace": what the probe does

    def does(self, case: Case) -> bool:
        part = case.part
        does = {"play": not part.is_path, "relay": part.is_fed, "pace": part.is_paced}
        return does[self.plays] and case.streams <= CLIENTS_MAX

    @contextmanager
    def performing(self, stage: Stage) -> Iterator[Sequence[int]]:
        before = stage.counts()
        with ExitStack() as stack:
            pids = [
                stack.enter_context(running(*self._client(stage, number)))
                for number in range(stage.case.streams)
            ]
            stage.await_more(before, stage.case.streams)
            yield pids

    def _client(self, stage: Stage, number: int) -> list[str]:
        part, server = stage.case.part, stage.pulse.address
        if part.is_idle:
            return stage.probe("idle", server)
        if part.records:
            log = stage.log_if_first(number, stage.heard)
            return stage.probe("listen", server, MICROPHONE, log, stage.fragment_ms)
        log = stage.log_if_first(number, stage.written)
        side = side_of(part, number)
        return stage.probe(self.plays, server, SINK, stage.settings.latency_ms, side, log)


def side_of(part: Part, number: int) -> str:
    """Of the first stream, whose frames are counted, and of the others."""
    if part.is_silent:
        return "silent"
    return "right" if number else "left"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that plays what it reads, once a stream."""

    command: str
    name: str

    def does(self, case: Case) -> bool:
        part = case.part
        plays = not (part.records or part.is_idle or part.is_path)
        return plays and case.streams <= CLIENTS_MAX

    @contextmanager
    def performing(self, stage: Stage) -> Iterator[Sequence[int]]:
        before = stage.counts()
        with ExitStack() as stack:
            shells = [
                stack.enter_context(self._running(stage, number))
                for number in range(stage.case.streams)
            ]
            try:
                stage.await_more(before, stage.case.streams)
            except SubjectFailedError as error:
                said = (stage.directory / "peer0.log").read_text(errors="replace").strip()
                raise SubjectFailedError(f"{error}; the command said: {said}") from None
            yield [pid for shell in shells for pid in family(shell)]

    @contextmanager
    def _running(self, stage: Stage, number: int) -> Iterator[int]:
        side, log = side_of(stage.case.part, number), stage.log_if_first(number, stage.written)
        feed = [str(stage.settings.probe), "feed", side, log]
        command = self.command.replace("{latency}", str(stage.settings.latency_ms))
        command = command.replace("{stream}", str(number))
        shell = [*stage.settings.prefix, "sh", "-c", f"exec {command}"]
        with (
            _small_pipe() as (reading, writing),
            (stage.directory / f"peer{number}.log").open("wb") as errors,
            subprocess.Popen(feed, stdin=subprocess.DEVNULL, stdout=writing) as feeding,
            subprocess.Popen(
                shell,
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment_of(stage.pulse),
            ) as playing,
        ):
            try:
                yield playing.pid
            finally:
                playing.terminate()
                feeding.terminate()


@contextmanager
def _small_pipe() -> Iterator[tuple[int, int]]:
    """Its reading end, and its writing end."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_OCTETS)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@dataclass(frozen=True, slots=True)
class Served:
    """xensnd-guest serve and the agent, and the guest's audio server as well."""

    checkout: Checkout
    name: str
    has_pipewire: bool = False  # and serves it by its own protocol
    plays_by_pipewire: bool = False  # the application, too, instead of PulseAudio's protocol

    def does(self, case: Case) -> bool:
        return case.part.is_path

    @contextmanager
    def performing(self, stage: Stage) -> Iterator[Sequence[int]]:
        directory = stage.directory
        with (
            self._guest_server(directory / "guest") as server,
            self.checkout.machine(directory / "machine", ["guest"]) as url,
            self.checkout.agent(stage, url) as agent,
        ):
            serve = [*stage.settings.prefix, self.checkout.command("xensnd-guest")]
            serve += [f"--transport={url}", "--domain=guest", "serve"]
            serve += [f"--server={_address_to_serve(server)}"]
            with (
                running_until_said(
                    "xensnd-guest: ready", serve, directory / "serve.log"
                ) as serving,
                self._application(stage, server),
            ):
                pids = server.pids if isinstance(server, PipeWireServer) else [server.pid]
                yield [*family(agent), *family(serving), *pids]

    def _application(self, stage: Stage, server: AnyServer) -> AbstractContextManager[None]:
        if not self.plays_by_pipewire:
            return _application(stage, server, "xensnd")
        probe = str(build_pipewire_probe(stage.directory))
        remote = _address_to_serve(server).removeprefix("pipewire:")
        latency = str(stage.settings.latency_ms)
        return _application(
            stage, server, "xensnd", [probe, remote, "xensnd", latency, str(stage.written)]
        )

    def _guest_server(self, directory: Path) -> AnyServer:
        return PipeWireServer(directory) if self.has_pipewire else _GuestServer(directory)


def _address_to_serve(server: AnyServer) -> str:
    if isinstance(server, PipeWireServer):
        return server.address_for(ServerProtocol.PIPEWIRE)
    return server.address


@dataclass(frozen=True, slots=True)
class Tunnel:
    """PulseAudio's module-tunnel-sink in the guest's audio server."""

    name: str = "PulseAudio's tunnel"

    def does(self, case: Case) -> bool:
        return case.part.is_path

    @contextmanager
    def performing(self, stage: Stage) -> Iterator[Sequence[int]]:
        tunnel = (
            f"module-tunnel-sink server={stage.pulse.address} sink={SINK} sink_name=tunnel "
            f"latency_msec={stage.settings.latency_ms} rate=48000 format=s16le channels=2"
        )
        with (
            _GuestServer(stage.directory / "guest", tunnel) as guest_pulse,
            _application(stage, guest_pulse, "tunnel"),
        ):
            yield [guest_pulse.pid]


class _GuestServer(PulseServer):
    """A guest's audio server. Where clocks differ it drops a frame or repeats one, and computes
    none between them: the numbers in the frames live."""

    def __init__(self, directory: Path, *modules: str) -> None:
        super().__init__(directory, modules=modules)
        directory.mkdir(parents=True)
        self._settings = directory / "daemon.conf"
        self._settings.write_text("resample-method = trivial\n")

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PULSE_CONFIG": str(self._settings)}


@contextmanager
def _application(
    stage: Stage, pulse: AnyServer, sink: str, command: Sequence[str] = ()
) -> Iterator[None]:
    """An application of the guest's audio server that plays to this sink of it: the command, or one
    that uses PulseAudio's protocol."""

    def sink_is_there() -> bool:
        with pulse.mixer() as mixer:
            return any(each.name == sink for each in mixer.sink_list())

    def is_playing() -> bool:
        with pulse.mixer() as mixer:
            return bool(mixer.sink_input_list()) and stage.counts()[1] > 0

    if not eventually(sink_is_there):
        raise SubjectFailedError(f"the guest's audio server has no sink {sink}")
    latency = stage.settings.latency_ms
    command = command or stage.probe("play", pulse.address, sink, latency, "left", stage.written)
    with running(*command):
        if not eventually(is_playing):
            raise SubjectFailedError("what the application plays does not come to dom0's server")
        yield
