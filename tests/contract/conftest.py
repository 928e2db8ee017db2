"""Each test of the seam runs on the stand-in and on Debian's real xenstored, each directly and
through the agent's opener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.local_machine import LocalMachine
from tests.support.opener import MachineBehindOpener
from xensnd.transport.xenstore import XenStore


@pytest.fixture(
    params=[
        ("standin", LocalMachine),
        ("xenstored", LocalMachine),
        ("standin", MachineBehindOpener),
        ("xenstored", MachineBehindOpener),
    ],
    ids=["standin", "xenstored", "opener-standin", "opener-xenstored"],
)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalMachine]:
    store, kind = request.param
    with kind(tmp_path, store) as machine:
        yield machine


@pytest.fixture
def connect(machine: LocalMachine) -> Callable[[], XenStore]:
    return machine.open_store


@pytest.fixture
def store(machine: LocalMachine) -> XenStore:
    return machine.open_store()


@pytest.fixture
def other_store(machine: LocalMachine) -> XenStore:
    """A second connection, of another process for all the store knows."""
    return machine.open_store()
