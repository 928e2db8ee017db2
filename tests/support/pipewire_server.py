"""A private PipeWire with its session manager and its PulseAudio interface."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pulsectl

START_SECONDS = 20


class PipeWireServer:
    """`with PipeWireServer(directory) as pipewire:`; `address` is as in PULSE_SERVER."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"unix:{directory}/pulse/native"
        self._stack = ExitStack()

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

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        bus = self.environment["DBUS_SESSION_BUS_ADDRESS"]
        try:
            self._run("dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile")
            self._await((self.directory / "bus").exists)
            self._run("pipewire")
            self._await((self.directory / "pipewire-0").exists)
            self._run("wireplumber")
            self._run("pipewire-pulse")
            self._await(self._answers)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @contextmanager
    def mixer(self) -> Iterator[Any]:
        with pulsectl.Pulse("test", server=self.address) as mixer:
            yield mixer

    def _run(self, *command: str) -> None:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def _answers(self) -> bool:
        try:
            with self.mixer() as mixer:
                return bool(mixer.server_info())
        except pulsectl.PulseError:
            return False

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                log = (self.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"PipeWire does not start:\n{log}")
            time.sleep(0.02)
