"""Programs that run while something is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.urgency import Urgency, urgent


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
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        if urgency is not None:
            urgent(process, urgency)
        try:
            yield process.pid
        finally:
            process.terminate()
