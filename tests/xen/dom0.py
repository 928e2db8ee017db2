"""What runs in the lab's dom0: a PulseAudio with one null sink, and xensnd-dom0."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from tests.support.audit_records import records_in
from tests.support.daemon import Startable
from tests.xen.images import SINK, SOURCE
from tests.xen.lab import wait_until
from tests.xen.remote import Machine, Process

ALLOW_PLAYBACK = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: deny\n'
ALLOW_BOTH = ALLOW_PLAYBACK.replace("deny", "allow")
COMMAND = "agent_dom0[.]cli"  # as it stands in its processes' command lines, and in no search's
MICROPHONE = "microphone"  # the source of microphone()
READY_SECONDS = 30
SHOWN_SECONDS = 1
THREADS = """
for pid; do
    for task in /proc/$pid/task/*; do
        echo "$(cat $task/comm) $(cut -d' ' -f3,14,15 $task/stat) $(cat $task/wchan) $task"
    done
done
"""
EVENT_SECONDS = 30

# Emulated, and beside other work on two processors, dom0 leaves a process waiting for longer than
# the 20 ms that are the default.
QUEUED_MSEC = 400
PATIENT = f"--latency={QUEUED_MSEC}"


class Pulse(Startable):
    """`norewinds`: an idle null sink renders two seconds ahead, and new streams would wait."""

    def __init__(self, dom0: Machine, directory: str = "/run/pulse") -> None:
        self.address = f"unix:{directory}/native"
        self._dom0 = dom0
        self._directory = directory
        self._process: Process | None = None

    def start(self) -> None:
        self._dom0.do("mkdir", "-p", self._directory)
        self._process = self._dom0.start(
            *pulseaudio(self._directory), env=pulse_environment(self._directory)
        )
        wait_until(
            lambda: SINK in self.pactl("list", "short", "sinks"),
            READY_SECONDS,
            lambda: f"pulseaudio does not start: {self._process and self._process.errors}",
        )

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    @property
    def has_ended(self) -> bool:
        """By itself: nobody stopped it."""
        return self._process is not None and not self._process.is_running

    @property
    def log(self) -> str:
        """Of the server that runs, or of the one that ended by itself, with its exit status."""
        if self._process is None:
            return "stopped"
        end = f"ended: {self._process.ended()}" if self.has_ended else "running"
        return f"{self._process.errors}\n{end}"

    def signal(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.signal(signum)

    def pactl(self, *arguments: str) -> str:
        return self._dom0.run("pactl", f"--server={self.address}", *arguments).output

    @contextmanager
    def listening(self, device: str = f"{SINK}.monitor") -> Iterator[Process]:
        """Hears what the sink plays, from before the block begins."""
        command = ["parec", f"--server={self.address}", "--raw", f"--device={device}"]
        command += ["--fix-format", "--fix-rate", "--fix-channels", "--latency-msec=50"]
        with self._dom0.start(*command) as ears:
            assert ears.listen_until(len), f"parec hears nothing: {ears.errors}{self.log}"
            yield ears

    @contextmanager
    def hearing_at(self, rate_hz: int, source: str = SOURCE) -> Iterator[Process]:
        """Hears, octet for octet, what guests play at this rate from now on. They record from
        `source`."""
        with (
            self.sink("same", rate_hz=rate_hz) as monitor,
            self.prefers("same", source),
            self.listening(monitor) as ears,
        ):
            yield ears

    @contextmanager
    def sink(
        self, name: str, *, rate_hz: int = 48000, sample_format: str = "s16le"
    ) -> Iterator[str]:
        """One more null sink, in stereo, for as long as the block lasts. Its monitor."""
        arguments = f"sink_name={name} norewinds=1 rate={rate_hz} format={sample_format} channels=2"
        with self._module("module-null-sink", arguments):
            yield f"{name}.monitor"

    @contextmanager
    def source(self, name: str, master: str) -> Iterator[str]:
        """A source that is no monitor, and gives what another one gives."""
        with self._module("module-remap-source", f"source_name={name} master={master} remix=no"):
            yield name

    @contextmanager
    def prefers(self, sink: str, source: str) -> Iterator[None]:
        """What guests play on and record from, whenever there are devices of these names."""
        self._set_default(sink, source)
        try:
            yield
        finally:
            self._set_default(SINK, SOURCE)

    @contextmanager
    def microphone(self, octets: bytes, *, rate_hz: int = 48000) -> Iterator[None]:
        """The default source gives these octets, from a moment on. Then silence."""
        file = f"{self._directory}/spoken"  # or a long sound would have to be sent as it is spoken
        self._dom0.write_file(file, octets)
        command = ["pacat", f"--server={self.address}", "--raw", "--device=voice"]
        command += ["--format=s16le", f"--rate={rate_hz}", "--channels=2", "--latency-msec=500"]
        command.append(file)
        # PulseAudio 16.1 aborts at times when a client ends whose memory it still has a part of, as
        # the monitor has here (memblock.c, memblock_replace_import). So none of it is shared.
        config = f"{self._directory}/client.conf"
        self._dom0.write_file(config, b"enable-shm = no\n")
        with (
            self.sink("voice", rate_hz=rate_hz) as monitor,
            self.source(MICROPHONE, monitor) as source,
            self.prefers(SINK, source),
            self._dom0.start(*command, env={"PULSE_CLIENTCONFIG": config}),
        ):
            with self.listening(source) as ears:  # no longer, as it takes a processor's time
                ears.listen_until(lambda heard: heard.strip(b"\0"))
            yield

    @contextmanager
    def _module(self, name: str, arguments: str) -> Iterator[None]:
        """Loaded for as long as the block lasts."""
        command = ("pactl", f"--server={self.address}", "load-module", name, *arguments.split())
        loaded = self._dom0.run(*command)
        assert not loaded.status, f"pactl loads no {name}: {loaded.errors}{self.log}"
        try:
            yield
        finally:
            self.pactl("unload-module", loaded.output.strip())

    def _set_default(self, sink: str, source: str) -> None:
        self.pactl("set-default-sink", sink)
        self.pactl("set-default-source", source)


def pulseaudio(directory: str) -> Sequence[str]:
    """The command, with `directory` for all that is its own."""
    return (
        *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
        # In real time it leaves an emulated processor to nobody for seconds when it has several
        # sinks, and Linux kills it when it takes 200 ms.
        "--realtime=no",
        f"--load=module-native-protocol-unix socket={directory}/native auth-anonymous=1",
        f"--load=module-null-sink sink_name={SINK} norewinds=1 rate=48000 format=s16le channels=2",
        f"--load=module-remap-source source_name={SOURCE} master={SINK}.monitor remix=no",
    )


def pulse_environment(directory: str) -> Mapping[str, str]:
    home = ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH")
    return dict.fromkeys(home, directory)


class Agent:
    """xensnd-dom0 with a policy and an audit file of its own."""

    def __init__(
        self,
        dom0: Machine,
        pulse: Pulse,
        *options: str,
        policy: str = ALLOW_PLAYBACK,
        directory: str = "/run/agent",
    ) -> None:
        self._dom0 = dom0
        self._policy = policy
        self._policy_file = f"{directory}/policy.d/30-user.yaml"
        self._audit_file = f"{directory}/audit.jsonl"
        self._directory = directory
        self._processes: list[Process] = []
        self._command = [
            *("env", "PYTHONPATH=/opt/xensnd", "python3", "-m", "tests.xen.shows_where"),
            *("agent_dom0.cli", "--transport=xen:", f"--server={pulse.address}"),
            *(f"--policy={directory}/policy.d", f"--audit={self._audit_file}", *options),
        ]
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._dom0.do("rm", "-rf", self._directory)
        self._dom0.do("mkdir", "-p", f"{self._directory}/policy.d")
        self.write_policy(self._policy)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()
        for process in self._processes:
            process.close()

    def start(self) -> None:
        self._process = self._dom0.start(*self._command)
        self._processes.append(self._process)
        said = self._process.listen_until(lambda said: b"\n" in said, READY_SECONDS)
        if said != b"xensnd-dom0: ready\n":
            self._process.close()
            raise RuntimeError(f"xensnd-dom0 said {said!r}; its log:\n{self.log}")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def restart(self) -> None:
        """Also one that does not respond."""
        try:
            self.stop()
        except TimeoutError:
            self._dom0.run("kill", "-KILL", *map(str, self._pids))
        self.start()

    def stop(self) -> int:
        """As systemd would. Its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.signal(signum)
        return process.ended().status

    def forget_deaths(self) -> None:
        """The next agent does not know whom earlier ones served when they died."""
        self._dom0.do("sh", "-c", "rm -f /run/xensnd/guests/*")

    @property
    def _pids(self) -> list[int]:
        """The supervisor's, and those of the worker and all others below it."""
        found = self._dom0.run("sh", "-c", f"grep -ls '{COMMAND}' /proc/[0-9]*/cmdline").output
        return sorted(int(path.split("/")[2]) for path in found.split())

    @property
    def worker(self) -> str:
        """The process below its supervisor, that does the work."""
        helpers = self._named("xensnd-(opener|zygote|engine)")
        return [str(pid) for pid in self._pids if str(pid) not in helpers][-1]

    @property
    def engines(self) -> list[str]:
        """The processes that serve one guest each (`--isolation guest`), without those that have
        ended and that nobody has waited for yet."""
        running = self._pids
        return [pid for pid in self._named("xensnd-engine") if int(pid) in running]

    def _named(self, pattern: str) -> list[str]:
        names = f"grep -lsE '^{pattern}$' /proc/[0-9]*/comm"
        return [path.split("/")[2] for path in self._dom0.run("sh", "-c", names).output.split()]

    @property
    def supervisor(self) -> str:
        """The process that systemd would have started."""
        return str(self._pids[0])

    def in_proc(self, command: str, name: str) -> str:
        """What a command says of this in /proc for its processes."""
        return self._dom0.do(*command.split(), *(f"/proc/{pid}/{name}" for pid in self._pids))

    @property
    def devices(self) -> str:
        """The guests' numbers that have a backend directory here."""
        return self._dom0.run("xenstore-list", "backend/vsnd").output

    @property
    def log(self) -> str:
        return "\n---- started again\n".join(process.errors for process in self._processes)

    def show_where(self) -> str:
        """Where each of its threads is, in Python and in the kernel, in the order of its log."""
        before = len(self.log)
        threads = [self._dom0.run("sh", "-c", THREADS, "-", *map(str, self._pids)).output]
        one_by_one = f"for pid; do kill -USR1 $pid; sleep {SHOWN_SECONDS}; done"
        self._dom0.run("sh", "-c", one_by_one, "-", *map(str, self._pids))
        return "\n".join([*threads, self.log[before:]])

    @property
    def trail(self) -> str:
        """What the audit trail says, and when."""
        return "\n".join(f"{each['TIME']} {each['MESSAGE']}" for each in self.events())

    def write_policy(self, text: str) -> None:
        self._dom0.write_file(self._policy_file, text.encode())

    def use(self, policy: str) -> None:
        """Until the agent has read it."""
        with self.one_more("policy_loaded"):
            self.write_policy(policy)

    def events(self, kind: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """What the audit trail says, of one kind (`decision`), with these XENSND_ fields."""
        return records_in(self._dom0.read_file(self._audit_file), kind, fields)

    def await_event(
        self, kind: str, *, count: int = 1, seconds: float = EVENT_SECONDS, **fields: object
    ) -> Any:
        """The latest of these events, once there are `count`."""
        found = wait_until(
            lambda: len(events := self.events(kind, **fields)) >= count and events,
            seconds,
            lambda: f"no {count} x {kind} {fields} in:\n{self.log}",
        )
        return found[-1]

    @contextmanager
    def one_more(
        self, kind: str, *, seconds: float = EVENT_SECONDS, **fields: object
    ) -> Iterator[None]:
        """What the block does is to bring one more of these events: waits for it."""
        before = len(self.events(kind, **fields))
        yield
        self.await_event(kind, count=before + 1, seconds=seconds, **fields)
