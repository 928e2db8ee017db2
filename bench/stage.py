"""What all subjects of a case have in common: an audio server, who listens, and who speaks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pulsectl

from bench.attributes import asked
from bench.cases import Case
from bench.cost import Cost, cost, proportional_kib
from bench.figures import Figures
from bench.measure import lateness
from bench.processes import running
from tests.support.pulse_server import SINK, PulseServer
from tests.support.raw_frontend import eventually
from tests.support.urgency import Urgency

START_SECONDS = 20.0
MICROPHONE, VOICE = "microphone", "voice"
SPEAKING = (
    f"module-null-sink sink_name={VOICE} norewinds=1 rate=48000 format=s16le channels=2",
    f"module-remap-source source_name={MICROPHONE} master={VOICE}.monitor remix=no",
)


class SubjectFailedError(Exception):
    """What is measured does not do what it should."""


@dataclass(frozen=True, slots=True)
class Settings:
    probe: Path
    seconds: float
    latency_ms: int
    prefix: Sequence[str] = ()  # a command that runs what follows it, such as chrt


@dataclass(frozen=True, slots=True)
class Window:
    """What was spent between two moments."""

    since_ns: int
    until_ns: int
    spent: Cost
    server: Cost
    memory_kib: int

    @property
    def seconds(self) -> float:
        return (self.until_ns - self.since_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Stage:
    case: Case
    directory: Path
    settings: Settings
    pulse: PulseServer

    @property
    def written(self) -> Path:
        """The log of what was written, and when."""
        return self.directory / "written"

    @property
    def heard(self) -> Path:
        return self.directory / "heard"

    def log_if_first(self, number: int, log: Path) -> str:
        """Of a case's streams the first one logs, if its frames are counted."""
        return str(log) if number == 0 and self.case.part.counts_frames else "-"

    @property
    def fragment_ms(self) -> int:
        """What the agent asks for when it records."""
        return self.settings.latency_ms // 2

    def probe(self, *arguments: object) -> list[str]:
        return [*self.settings.prefix, str(self.settings.probe), *map(str, arguments)]

    def counts(self) -> tuple[int, int, int]:
        """Clients, sink inputs and source outputs. SubjectFailedError: the audio server refuses to
        tell."""
        try:
            with self.pulse.mixer() as mixer:
                return (
                    len(mixer.client_list()),
                    len(mixer.sink_input_list()),
                    len(mixer.source_output_list()),
                )
        except pulsectl.PulseError as error:
            raise SubjectFailedError(f"the audio server refuses its mixer: {error}") from None

    def await_more(self, before: tuple[int, int, int], count: int) -> None:
        """Waits until there are as many more of what the case is about. SubjectFailedError: there
        are not."""
        part = self.case.part
        kind = 0 if part.is_idle else 2 if part.records else 1
        if not eventually(lambda: self.counts()[kind] >= before[kind] + count, START_SECONDS):
            found = self.counts()[kind] - before[kind]
            raise SubjectFailedError(f"the audio server has {found} of its {count} streams")

    def suspend(self) -> None:
        with self.pulse.mixer() as mixer:
            for sink in mixer.sink_list():
                mixer.sink_suspend(sink.index, 1)

    def watch(self, pids: Sequence[int]) -> Window:
        """SubjectFailedError: one of the processes has ended."""
        server = [self.pulse.pid]
        try:
            since = time.monotonic_ns(), cost(pids), cost(server)
            time.sleep(self.settings.seconds)
            until = time.monotonic_ns(), cost(pids), cost(server)
            memory = proportional_kib(pids)
        except (FileNotFoundError, ProcessLookupError):
            raise SubjectFailedError("a process of it has ended") from None
        return Window(since[0], until[0], until[1] - since[1], until[2] - since[2], memory)

    def figures(self, window: Window) -> Figures:
        """Call it when all processes have ended: then the logs are whole."""
        seconds = window.seconds
        figures = Figures(
            cpu_ms=window.spent.cpu_seconds * 1000 / seconds / self.case.sharing,
            wakeups=window.spent.switches / seconds,
            interpreter_wakeups=window.spent.interpreter_switches / seconds,
            server_cpu_ms=window.server.cpu_seconds * 1000 / seconds,
            server_wakeups=window.server.switches / seconds,
            memory_mib=window.memory_kib / 1024,
            asked=asked(self.pulse.log, records=self.case.part.records),
        )
        if not self.case.part.counts_frames:
            return figures
        late = lateness(self.written, self.heard, window.since_ns, window.until_ns)
        is_timed = self.case.part.is_timed
        return replace(
            figures,
            latency_median_ms=late.median_ms if is_timed else None,
            latency_p99_ms=late.p99_ms if is_timed else None,
            lost_frames=late.lost_frames,
            repeated_frames=late.repeated_frames,
        )


@contextmanager
def set_up(case: Case, directory: Path, settings: Settings) -> Iterator[Stage]:
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        modules = SPEAKING if case.part.records else ()
        pulse = stack.enter_context(PulseServer(directory / "pulse", modules=modules))
        stage = Stage(case, directory, settings, pulse)
        probe = str(settings.probe)
        if case.part.listens:
            listen = (probe, "listen", pulse.address, f"{SINK}.monitor", str(stage.heard))
            stack.enter_context(running(*listen, urgency=Urgency.SERVER))
            assert eventually(lambda: stage.counts()[2] == 1)
        if case.part.records:
            with pulse.mixer() as mixer:
                mixer.source_default_set(MICROPHONE)
            speak = (probe, "play", pulse.address, VOICE, "20", "left", str(stage.written))
            stack.enter_context(running(*speak, urgency=Urgency.SERVER))
            assert eventually(lambda: stage.counts()[1] == 1)
        yield stage


def environment_of(pulse: PulseServer) -> dict[str, str]:
    return {**os.environ, "PULSE_SERVER": pulse.address, "PULSE_SINK": SINK}
