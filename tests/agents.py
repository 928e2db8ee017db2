"""The project's own commands as a test runs them: real processes, as people start them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.local_machine import LocalMachine

BIN = Path(sys.executable).parent
READY_SECONDS = 20
ALLOW_PLAYBACK = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: deny\n'


class Dom0:
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
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.policy_directory = directory / "policy.d"
        self.policy_directory.mkdir(mode=0o755, exist_ok=True)
        self.policy_file = self.policy_directory / "30-user.yaml"
        self.write_policy(policy)
        self.audit_file = directory / "audit.jsonl"
        self.log_file = directory / "dom0.log"
        self._command = [
            str(BIN / "xensnd-dom0"),
            f"--transport={transport}",
            f"--policy={self.policy_directory}",
            f"--server={server}",
            f"--audit={audit or self.audit_file}",
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None:
            self.stop()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        line = self.process.stdout.readline() if readable else b"(nothing)"
        if line != b"xensnd-dom0: ready\n":
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"xensnd-dom0 said {line!r}; its log: {self.log}")

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def _end(self, signum: int) -> int:
        process, self.process = self.process, None
        assert process is not None
        with process:
            process.send_signal(signum)
        return process.returncode

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def write_policy(self, text: str) -> None:
        """As an editor does: another file in its place, at once."""
        new = self.policy_directory / ".new"
        new.write_text(text)
        new.chmod(0o644)
        new.rename(self.policy_file)

    def policy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """xensnd-policy with this agent's directory."""
        return run("xensnd-policy", f"--policy={self.policy_directory}", *arguments)

    # The audit trail

    def events(self, kind: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """What the trail says, of one kind (`decision`), with these XENSND_ fields (guest=...)."""
        if not self.audit_file.exists():
            return []
        records = [json.loads(line) for line in self.audit_file.read_text().splitlines()]
        wanted = {f"XENSND_{name.upper()}": value for name, value in fields.items()}
        return [
            record
            for record in records
            if (kind is None or record["EVENT"] == kind)
            and all(record.get(name) == value for name, value in wanted.items())
        ]

    def await_event(
        self, kind: str, *, count: int = 1, seconds: float = 10, **fields: object
    ) -> Any:
        """The latest of these events, once there are `count`."""
        found = eventually(
            lambda: len(events := self.events(kind, **fields)) >= count and events, seconds
        )
        assert found, f"no {count} x {kind} {fields} in:\n{self.audit_file.read_text()}\n{self.log}"
        return found[-1]


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """The condition's value once it holds, or the last one that did not."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


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


class Running:
    """A command under way; with the block that it is of, it ends at the latest."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self.output = b""  # once it has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.process as process:
            process.kill()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()

    def ended(self, seconds: float = 30, *, stdin: bytes | None = None) -> Ended:
        """Waits for its end; `stdin` is what it still gets."""
        if self.process.stdin is not None and self.process.stdin.closed:
            self.process.stdin = None
        self.output, errors = self.process.communicate(stdin, timeout=seconds)
        return Ended(self.process.returncode, errors.decode())


class Guest:
    """A guest domain of a local machine, and xensnd-guest in it."""

    def __init__(self, machine: LocalMachine, name: str) -> None:
        self.name = name
        self.domid = machine.create(name)
        self._machine = machine

    def destroy(self) -> None:
        self._machine.destroy(self.name)

    def start(self, *arguments: str) -> Running:
        return Running(guest_command(self._machine.url, self.name, *arguments))

    def run(self, *arguments: str, stdin: bytes | None = None, seconds: float = 30) -> Ended:
        """xensnd-guest to its end."""
        with self.start(*arguments) as running:
            return running.ended(seconds, stdin=stdin)


def guest_command(transport: str, domain: str, *arguments: str) -> list[str]:
    return [str(BIN / "xensnd-guest"), f"--transport={transport}", f"--domain={domain}", *arguments]


def run_guest(
    transport: str, domain: str, *arguments: str, seconds: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """xensnd-guest to its end."""
    return subprocess.run(
        guest_command(transport, domain, *arguments),
        capture_output=True,
        timeout=seconds,
        check=False,
    )


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
