"""Processes that tests start, wait for until they are ready, and end."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Self

READY_SECONDS = 20.0
END_SECONDS = 30.0
ASK_AGAIN_SECONDS = 0.01


class Startable:
    """What is started when its block begins, and stopped when that ends. Inside, it may be stopped
    and started again."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Daemon(Startable):
    """A process. A subclass starts it in `start()`, by one of the launch functions.

    These return once it is ready. If it ends before, or takes too long, they end it and raise
    RuntimeError with its log: what it wrote to standard error, or to `log_file` by itself.
    """

    def __init__(self, name: str, log_file: Path | None = None) -> None:
        self.name = name
        self.log_file = log_file
        self.process: subprocess.Popen[bytes] | None = None

    # Starting

    def launch_until_line(self, command: Sequence[str], line: bytes, **options: Any) -> None:
        """Start the command. It is ready when it writes this line to standard output."""
        process = self.launch(command, stdout=subprocess.PIPE, **options)
        assert process.stdout is not None
        is_readable = readable([process.stdout.fileno()], READY_SECONDS)
        said = process.stdout.readline() if is_readable else b"(nothing)"
        if said != line + b"\n":
            raise self._failure(f"it wrote {said!r} instead of {line!r}")

    def launch_until_notified(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        """Start the command. It is ready when it notifies systemd: sd_notify(3), READY=1."""
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notifications:
            notifications.bind("")  # to an abstract name, which every mount namespace sees
            name = "@" + notifications.getsockname()[1:].decode()
            notify = {**(os.environ if environment is None else environment), "NOTIFY_SOCKET": name}
            self.launch(command, environment=notify, **options)
            deadline = time.monotonic() + READY_SECONDS
            while self._await_readable(notifications, deadline):
                if b"READY=1" in notifications.recv(4096).split(b"\n"):
                    return
        raise self._failure("it does not notify that it is ready")

    def launch_until(
        self, command: Sequence[str], is_ready: Callable[[], object], **options: Any
    ) -> None:
        """Start the command, and ask again and again whether it is ready: for those that tell
        nobody."""
        with _end_of(self.launch(command, **options)) as end:
            deadline = time.monotonic() + READY_SECONDS
            while not is_ready():
                if readable([end], ASK_AGAIN_SECONDS):
                    break
                if time.monotonic() > deadline:
                    break
            else:
                return
        raise self._failure("it does not become ready")

    def launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start the command, and wait for nothing."""
        assert self.process is None, f"{self.name} runs already"
        log = self.log_file.open("ab") if self.log_file else None
        try:
            self.process = subprocess.Popen(
                command, stdout=stdout or log, stderr=log, env=environment, **options
            )
        finally:
            if log:
                log.close()
        return self.process

    def _await_readable(self, notifications: socket.socket, deadline: float) -> bool:
        assert self.process is not None
        with _end_of(self.process) as end:
            left = max(deadline - time.monotonic(), 0)
            return notifications.fileno() in readable([notifications.fileno(), end], left)

    def _failure(self, what: str) -> RuntimeError:
        self.kill()
        return RuntimeError(f"{self.name} does not start: {what}; its log:\n{self.end_of_log}")

    # While it runs

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def signal(self, signum: int) -> None:
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(signum)

    @property
    def has_ended(self) -> bool:
        """By itself: nobody stopped it."""
        return self.process is not None and self.process.poll() is not None

    def say_if_ended(self) -> None:
        """Raise RuntimeError with its exit status and its log if it has ended by itself."""
        if self.process is not None and self.has_ended:
            what = f"{self.name} ended by itself, status {self.process.returncode}"
            raise RuntimeError(f"{what}; its log:\n{self.end_of_log}")

    def freeze(self) -> None:
        """It keeps its connections and answers no more, until `thaw()` or its end."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        if self.log_file is None or not self.log_file.exists():
            return ""
        return self.log_file.read_text(errors="replace")

    @property
    def log_lines(self) -> list[str]:
        return self.log.splitlines()

    @property
    def end_of_log(self) -> str:
        return "\n".join(self.log_lines[-30:])

    # Ending

    def stop(self) -> int:
        """End it as systemd does. Returns its exit status; 0 if it does not run."""
        return self.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self.end(signal.SIGKILL)

    def end(self, signum: int) -> int:
        """Send a signal that ends it, and wait for that. Returns its exit status."""
        if self.process is None:
            return 0
        self.signal(signum)
        self.thaw()  # it may be frozen
        return self.await_end()

    def await_end(self) -> int:
        """Wait until it ends. Returns its exit status."""
        assert self.process is not None, f"{self.name} does not run"
        with self.process as process:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                what = f"{self.name} does not end; its log:\n{self.end_of_log}"
                raise RuntimeError(what) from None
            finally:
                self.process = None
        return process.returncode


@contextmanager
def _end_of(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """A descriptor that is readable when the process has ended."""
    fd = os.pidfd_open(process.pid)
    try:
        yield fd
    finally:
        os.close(fd)


def readable(fds: Sequence[int], seconds: float) -> list[int]:
    """Those that are readable, or at their end, within this time: also fds beyond 1023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(seconds * 1000)]
