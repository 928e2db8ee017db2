"""For all tests: they start as from a terminal, and leave no process behind."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raw_frontend import eventually

MARK = "XENSND_TEST_SESSION"


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores SIGINT, and what it starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Programs are started hundreds of times: where nothing compiled may be kept beside their
    # sources, it is kept until the tests are over.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        directory = tempfile.TemporaryDirectory(prefix="xensnd-compiled-")
        config.add_cleanup(directory.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = directory.name


def _marked(mark: bytes) -> dict[int, str]:
    """The other processes with this mark in their environment, and their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (process / "environ").read_bytes().split(b"\0"):
                continue
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended, or is of another user
            continue
        if int(process.name) != os.getpid():
            found[int(process.name)] = command.decode(errors="replace").strip()
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """What a test starts inherits its environment. Set up first, it looks when all else is over."""
    value = uuid.uuid4().hex
    os.environ[MARK] = value
    yield
    mark = f"{MARK}={value}".encode()
    eventually(lambda: not _marked(mark), seconds=2)
    left = _marked(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"processes were left running: {left}"
