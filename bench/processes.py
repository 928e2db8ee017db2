"""Programs that run while something is measured."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.urgency import Urgency, urgent

START_SECONDS = 30.0

# Where the agent's runtime directory is, as /run is for the unit's: in memory. On a disk, the agent
# would wait for writes of others. None: where temporary files are.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Where both distributions have them.
_PIPEWIRE = ["-I/usr/include/pipewire-0.3", "-I/usr/include/spa-0.2", "-lpipewire-0.3"]


def build_probe(directory: Path) -> Path:
    return _build(directory, "probe", ["-lpulse"])


def build_pipewire_probe(directory: Path) -> Path:
    return _build(directory, "probe_pipewire", _PIPEWIRE)


def build_heard(directory: Path) -> Path:
    return _build(directory, "heard", ["-lpulse"])


def build_heard_pipewire(directory: Path) -> Path:
    return _build(directory, "heard_pipewire", _PIPEWIRE)


def build_stalls(directory: Path) -> Path:
    return _build(directory, "stalls", ["-pthread"])


def _build(directory: Path, name: str, options: Sequence[str]) -> Path:
    source = Path(__file__).parent / f"{name}.c"
    command = ["gcc", "-O2", "-o", str(directory / name), str(source), *options]
    subprocess.run(command, check=True)
    return directory / name


@contextmanager
def running(
    *command: str, environment: dict[str, str] | None = None, urgency: Urgency | None = None
) -> Iterator[int]:
    """Its process id. It ends with the block."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        if urgency is not None:
            urgent(process, urgency)
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def running_until_said(
    line: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Its process id, once it has said this line on standard output. It ends with the block.
    RuntimeError: it has not, with what it said on standard error."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            if _next_line(process.stdout) != line:
                raise RuntimeError(f"{command[0]} does not start:\n{log.read_text()[-2000:]}")
            yield process.pid
        finally:
            process.terminate()


def _next_line(stdout: IO[bytes]) -> str:
    is_readable, _, _ = select.select([stdout], [], [], START_SECONDS)
    return stdout.readline().decode().rstrip("\n") if is_readable else ""
