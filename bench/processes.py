"""Programs that run while something is measured."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.urgency import Urgency, urgent

START_SECONDS = 30.0


def build_probe(directory: Path) -> Path:
    probe = directory / "probe"
    source = Path(__file__).parent / "probe.c"
    subprocess.run(["gcc", "-O2", "-o", str(probe), str(source), "-lpulse"], check=True)
    return probe


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
