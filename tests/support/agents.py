"""The project's own commands as a test runs them: real processes, as people start them."""

from __future__ import annotations

import asyncio
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agent_dom0.opener.process import NAME as OPENER
from agent_guest.card import Card
from agent_guest.pcm import SampleSpec
from agent_guest.play_record import Player, Recorder
from agent_guest.soundfile_io import SampleReader, SampleWriter
from tests.support.audit_records import records_in
from tests.support.audit_table import assert_documented
from tests.support.daemon import READY_SECONDS, Daemon
from tests.support.heard import find_gaps
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import (
    Ears,
    Listener,
    PulseServer,
    difference,
    feed,
    noise,
    on_right,
    right_of,
    write_wav,
)
from tests.support.raw_frontend import RawFrontend, eventually
from tests.support.urgency import (
    Urgency,
    children,
    is_beside_another,
    may_be_urgent,
    urgent_family,
)
from xensnd.control.client import AgentClient
from xensnd.core import Engine
from xensnd.localxen import toolstack
from xensnd.sndif.formats import SampleFormat
from xensnd.transport.interface import Transport

BIN = Path(sys.executable).parent
SECOND_OCTETS = 48000 * 4
# Without real-time scheduling a shared machine leaves processes waiting for far longer than the
# 20 ms that are the default. A guest's buffer is twice as long, so it too may be late by that time.
QUEUED_MSEC = 250
if may_be_urgent():
    QUEUED_MSEC = 120 if is_beside_another() else 60
PATIENT = f"--latency={QUEUED_MSEC}"
ALLOW_PLAYBACK = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: deny\n'


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Dom0(Daemon):
    """xensnd-dom0 with a policy directory and an audit file of its own."""

    def __init__(
        self,
        directory: Path,
        transport: str,
        server: str,
        *,
        policy: str = ALLOW_PLAYBACK,
        audit: str | None = None,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),  # a command that runs what follows it, such as nsenter
        command: Sequence[str] = (str(BIN / "xensnd-dom0"),),
    ) -> None:
        super().__init__("xensnd-dom0", directory / "dom0.log")
        directory.mkdir(parents=True, exist_ok=True)
        self.policy_directory = directory / "policy.d"
        self.policy_directory.mkdir(mode=0o755, exist_ok=True)
        self.policy_file = self.policy_directory / "30-user.yaml"
        self.write_policy(policy)
        self.runtime_directory = directory / "grants"
        self.control = Path(transport.removeprefix("local:")) / "dom0" / "control"
        self.audit_file = directory / "audit.jsonl"
        self.options = [
            f"--transport={transport}",
            f"--policy={self.policy_directory}",
            f"--runtime={self.runtime_directory}",
            f"--server={server}",
            f"--audit={audit or self.audit_file}",
            *options,
        ]
        self._command = [*prefix, *command]

    def start(self) -> None:
        self.launch_until_line([*self._command, *self.options], b"xensnd-dom0: ready")
        if not is_beside_another():
            # Not before: what loads an interpreter keeps a processor from others that sound.
            urgent_family(self.pid, Urgency.SOUNDING)  # and so will be what it starts

    @property
    def agent_pid(self) -> int:
        """The process that does the work, below the supervisor, which waits for its end."""
        return self._the_child(is_opener=False)

    @property
    def opener_pid(self) -> int:
        """The process that uses XenStore for the agent."""
        return self._the_child(is_opener=True)

    def _the_child(self, *, is_opener: bool) -> int:
        def found() -> list[int]:
            return [pid for pid in self._child_pids if (_name(pid) == OPENER) is is_opener]

        return int(eventually(lambda: len(pids := found()) == 1 and pids)[0])

    @property
    def _child_pids(self) -> list[int]:
        return children(self.pid)

    def kill(self) -> None:
        """The supervisor, which takes its agent along: until that too has ended."""
        ends = [os.pidfd_open(pid) for pid in self._child_pids]
        self.end(signal.SIGKILL)
        for end in ends:
            assert select.select([end], [], [], READY_SECONDS)[0]
            os.close(end)

    def hang_up(self) -> None:
        self.signal(signal.SIGHUP)

    def hang_up_until(self, text: str) -> None:
        """Each time, the policy is loaded and that is audited; until its log says this."""

        def has_said() -> bool:
            self.hang_up()
            return text in self.log

        assert eventually(has_said), self.end_of_log

    def end(self, signum: int) -> int:
        status = super().end(signum)
        assert_documented(self.events())
        refused = [line for line in self.log.splitlines() if "refused the agent" in line]
        assert not refused, refused  # what it needs is admitted
        return status

    def write_policy(self, text: str) -> None:
        """As an editor does: another file in its place, at once."""
        new = self.policy_directory / ".new"
        new.write_text(text)
        new.chmod(0o644)
        new.rename(self.policy_file)

    def policy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """xensnd-policy with this agent's directories."""
        return run(
            "xensnd-policy",
            f"--policy={self.policy_directory}",
            f"--runtime={self.runtime_directory}",
            *arguments,
        )

    def ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Over the control socket; UsageError with the agent's words if it refuses."""
        with AgentClient(self.control) as agent:
            return agent.ask(operation, **arguments)

    def shown(self, guest: str) -> Any:
        """The guest as `status` shows it."""
        return next(each for each in self.ask("status")["guests"] if each["name"] == guest)

    def stream(self, guest: str) -> Any:
        """The guest's only stream, as `status` shows it."""
        (stream,) = (each for card in self.shown(guest)["devices"] for each in card["streams"])
        return stream

    def use(self, policy: str) -> None:
        """Until the agent has read it."""
        with self.one_more("policy_loaded"):
            self.write_policy(policy)

    # The audit trail

    def events(self, kind: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """What the trail says, of one kind (`decision`), with these XENSND_ fields (guest=...)."""
        if not self.audit_file.exists():
            return []
        return records_in(self.audit_file.read_text(), kind, fields)

    def await_event(
        self, kind: str, *, count: int = 1, seconds: float = 10, **fields: object
    ) -> Any:
        """The latest of these events, once there are `count`."""
        found = eventually(
            lambda: len(events := self.events(kind, **fields)) >= count and events, seconds
        )
        assert found, f"no {count} x {kind} {fields} at the end of:\n{self.end_of_log}"
        return found[-1]

    @contextmanager
    def one_more(self, kind: str, *, seconds: float = 10, **fields: object) -> Iterator[None]:
        """What the block does is to bring one more of these events: waits for it."""
        before = len(self.events(kind, **fields))
        yield
        self.await_event(kind, count=before + 1, seconds=seconds, **fields)


def run(command: str, *arguments: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said on standard error."""

    status: int
    errors: str = ""


class Running(Listener):
    """A command under way, of which everything is kept that it says; with its block it ends.

    `stdin` is what it gets on standard input, which is closed after that. None: it stays open.
    """

    def __init__(self, command: Sequence[str], stdin: Iterable[bytes] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the block)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        super().__init__(process)
        self._feeder = feed(process, stdin) if stdin is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.stop()
        if self._feeder:
            self._feeder.join()
        self._errors.close()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def give(self, octets: bytes) -> None:
        """On standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(octets)
        self.process.stdin.flush()

    def give_no_more(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self, seconds: float = 30) -> Ended:
        """Waits for its end."""
        self.process.wait(seconds)
        self._thread.join()
        return Ended(self.process.returncode, self.errors)


class Guest:
    """A guest domain of a local machine, and xensnd-guest in it."""

    def __init__(self, machine: LocalMachine, name: str) -> None:
        self.name = name
        self.domid = machine.create(name)
        self._machine = machine

    def destroy(self) -> None:
        self._machine.destroy(self.name)

    def replace_card(self) -> None:
        """As a toolstack that restores the guest: its device closes, and is there again, new."""
        store = self._machine.open_store()
        toolstack.close_device(store, self.domid)
        backend = f"/local/domain/0/backend/vsnd/{self.domid}/0"
        store.write(f"{backend}/online", "1")
        store.write(f"{backend}/state", "1")

    def start(self, *arguments: str, stdin: Iterable[bytes] | None = None) -> Running:
        return Running(guest_command(self._machine.url, self.name, *arguments), stdin)

    def run(self, *arguments: str, stdin: bytes = b"", seconds: float = 30) -> Ended:
        """xensnd-guest to its end."""
        with self.start(*arguments, stdin=[stdin]) as running:
            return running.ended(seconds)


@functools.cache
def _long_noise() -> bytes:
    return noise(150, frame_octets=2, seed=9)


class Neighbour:
    """A guest that plays noise on the right, all the time: whatever else happens must leave it."""

    def __init__(self, guest: Guest, ears: Ears, directory: Path) -> None:
        self.ears = ears
        self._known_octets = 0  # of what was heard, so much was compared before
        file = write_wav(directory / "neighbour.wav", on_right(_long_noise()))
        self.playing = guest.start("play", str(file))
        ears.listen_until(lambda heard: right_of(heard).strip(b"\0"))

    def assert_undisturbed(self) -> None:
        """It goes on, and up to here each octet was heard."""
        began = len(self.ears.heard)
        self.ears.listen_until(lambda heard: len(heard) > began + SECOND_OCTETS // 10)
        heard = right_of(self.ears.heard)
        start = self._known_octets or heard.index(_long_noise()[:64])
        self._known_octets = len(heard) - 64  # so that one disturbance is found once
        heard = heard[start:]
        assert heard in _long_noise(), "; ".join(
            map(str, find_gaps(heard, _long_noise(), frame_octets=2))
        )
        assert self.playing.is_running


@contextmanager
def driver_of(machine: LocalMachine, dom0: Dom0, guest: Guest) -> Iterator[RawFrontend]:
    """A frontend of this guest that does what the test says, once the guest has a card."""
    dom0.await_event("device_made", domid=guest.domid)
    with (
        closing(machine.transport(guest.name)) as transport,
        closing(transport.open_store()) as store,
    ):
        backend = f"/local/domain/0/backend/vsnd/{guest.domid}/0"
        yield RawFrontend(transport, store, backend)


def assert_plays(guest: Guest, pulse: PulseServer) -> None:
    """The guest plays half a second, and each octet of it is heard."""
    played = noise(0.5)
    with pulse.listening() as ears:
        assert guest.run("play", "-", stdin=played) == Ended(0)
        assert ears.hears(played), difference(played, ears.heard)


@contextmanager
def neighbour_of(pulse: PulseServer, guest: Guest) -> Iterator[Neighbour]:
    """Undisturbed from the beginning of the block to its end."""
    with (
        tempfile.TemporaryDirectory(prefix="neighbour-") as directory,
        pulse.listening() as ears,
    ):
        neighbour = Neighbour(guest, ears, Path(directory))
        with neighbour.playing:
            yield neighbour
            neighbour.assert_undisturbed()


def play_and_record(transport: Transport, played: bytes, frames: int = 0) -> bytes:
    """Both at once, as the guest of this transport, in this process. What was recorded."""
    sound = SampleSpec(SampleFormat.S16_LE, 48000, 2)
    rest, recorded = bytearray(played), bytearray()

    async def read(octets: int) -> bytes:
        part = bytes(rest[:octets])
        del rest[:octets]
        return part

    async def both(engine: Engine) -> None:
        async with Card(transport, engine) as card, asyncio.TaskGroup() as tasks:
            tasks.create_task(Player(SampleReader(sound, read, lambda: None)).run(card))
            if frames:
                sink = SampleWriter(recorded.extend, lambda: None)
                tasks.create_task(Recorder(sink, sound, frames).run(card))

    with closing(Engine()) as engine:
        asyncio.run(both(engine))
    return bytes(recorded)


def guest_command(transport: str, domain: str, *arguments: str) -> list[str]:
    return [str(BIN / "xensnd-guest"), f"--transport={transport}", f"--domain={domain}", *arguments]


def start_guest(
    transport: str, domain: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        guest_command(transport, domain, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
