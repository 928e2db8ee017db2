"""A private PipeWire with its session manager and its PulseAudio interface, and how an agent is
told to use either of its protocols."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import pulsectl

from tests.support.daemon import Daemon, Startable
from tests.support.urgency import Urgency, urgent


class ServerProtocol(Enum):
    """By which an agent plays and records; its mixer always uses PulseAudio's."""

    PULSEAUDIO = "PulseAudio's protocol"
    PIPEWIRE = "PipeWire's protocol"


class PipeWireServer(Startable):
    """`with PipeWireServer(directory) as pipewire:`; `address` is as in PULSE_SERVER."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"unix:{directory}/pulse/native"
        self.agent_prefix = ["env", f"PULSE_SERVER={self.address}"]
        self._stack = ExitStack()
        self.pids: list[int] = []

    def address_for(self, protocol: ServerProtocol) -> str:
        """As in --server of an agent that is run with `agent_prefix`."""
        if protocol is ServerProtocol.PULSEAUDIO:
            return self.address
        return f"pipewire:{self.directory}/pipewire-0"

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.directory)
        return {
            **os.environ,
            "HOME": home,
            "XDG_RUNTIME_DIR": home,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/bus",
            "PULSE_SERVER": self.address,
        }

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        bus = self.environment["DBUS_SESSION_BUS_ADDRESS"]
        try:
            self._run("dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile")
            pipewire = self._run("pipewire", is_ready=(self.directory / "pipewire-0").exists)
            self._run("wireplumber", is_ready=lambda: True)
            pulse = self._run("pipewire-pulse", is_ready=self._answers)
            for process in (pipewire, pulse):  # their threads of sound are urgent by themselves
                urgent(process, Urgency.SERVER)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._stack.close()
        self.pids.clear()

    @contextmanager
    def mixer(self) -> Iterator[Any]:
        with pulsectl.Pulse("test", server=self.address) as mixer:
            yield mixer

    def _run(
        self, *command: str, is_ready: Callable[[], bool] | None = None
    ) -> subprocess.Popen[bytes]:
        daemon = _Part(command, self.environment, self.directory / "log", is_ready)
        self._stack.enter_context(daemon)
        assert daemon.process is not None
        self.pids.append(daemon.process.pid)
        return daemon.process

    def _answers(self) -> bool:
        try:
            with self.mixer() as mixer:
                return bool(mixer.server_info())
        except pulsectl.PulseError:
            return False


class _Part(Daemon):
    """`is_ready` None: it notifies that it is."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        is_ready: Callable[[], bool] | None,
    ) -> None:
        super().__init__(command[0], log_file)
        self._command = command
        self._environment = environment
        self._is_ready = is_ready

    def start(self) -> None:
        if self._is_ready is None:
            self.launch_until_notified(self._command, self._environment)
        else:
            self.launch_until(self._command, self._is_ready, environment=self._environment)
