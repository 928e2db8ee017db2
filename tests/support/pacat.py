"""xensnd-pacat as qvm-start-daemon runs it."""

from __future__ import annotations

from pathlib import Path

from tests.support.agents import BIN
from tests.support.daemon import Daemon


class Pacat(Daemon):
    """Registers a guest with the agent that listens on `control`."""

    def __init__(self, directory: Path, control: Path, domid: int, name: str) -> None:
        super().__init__(f"pacat of {name}", directory / f"pacat-{domid}.log")
        self.pidfile = directory / f"pacat.{domid}"
        self._command = [
            str(BIN / "xensnd-pacat"),
            f"--control={control}",
            f"--pidfile={self.pidfile}",
            *("-l", str(domid), name),
        ]

    def start(self) -> None:
        """Until its pidfile names it, as qvm-start-daemon needs it."""
        self.launch_until(self._command, lambda: self._pid_written == str(self.pid))

    def run(self) -> int:
        """Run until it ends by itself. Return its exit status."""
        self.launch(self._command)
        return self.await_end()

    @property
    def _pid_written(self) -> str:
        return self.pidfile.read_text().strip() if self.pidfile.exists() else ""
