"""A program on a terminal of its own, whose person is the test."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
# What would say of this terminal what is true of another.
_OTHERS = ("NO_COLOR", "COLUMNS", "LINES")


class OnTerminal:
    """`text` is all that it has written."""

    def __init__(
        self, command: Sequence[str], columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        self._near, far = pty.openpty()
        self.resize(columns, lines)
        kept = {name: value for name, value in os.environ.items() if name not in _OTHERS}
        # setsid --ctty: the terminal is its own, so that Ctrl-C reaches it.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=ROOT,
            stdin=far,
            stdout=far,
            stderr=far,
            env={**kept, "TERM": "xterm", "PYTHONUTF8": "1", **environment},
        )
        os.close(far)
        self.text = ""
        self._octets = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()
        os.close(self._near)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._near, text.encode())

    def await_text(self, text: str, seconds: float = 10) -> None:
        """From here on; what came before does not count again."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert self._read(deadline), f"no {text!r} in {self.text[-3000:]!r}"
        self.text = self.text.partition(text)[2]

    def ended(self, signum: int | None = None, seconds: float = 10) -> int:
        """Its exit status."""
        if signum is not None:
            self.process.send_signal(signum)
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(seconds)

    def interrupt(self) -> int:
        """Ctrl-C."""
        self.type("\x03")
        return self.ended()

    def terminate(self) -> int:
        return self.ended(signal.SIGTERM)

    def _read(self, deadline: float) -> bool:
        left = max(deadline - time.monotonic(), 0)
        if not select.select([self._near], [], [], left)[0]:
            return False
        try:
            octets = os.read(self._near, 1 << 16)
        except OSError:  # the program has closed it
            return False
        self._octets += octets
        self.text += octets.decode(errors="replace")
        return bool(octets)
