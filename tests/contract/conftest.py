"""Each test of the seam runs on the stand-in and on Debian's real xenstored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.support.local_machine import LocalMachine, StoreKind
from xensnd.transport.xenstore import XenStore


@pytest.fixture(params=["standin", "xenstored"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path, cast(StoreKind, request.param)) as machine:
        yield machine


@pytest.fixture
def store(machine: LocalMachine) -> XenStore:
    return machine.open_store()


@pytest.fixture
def other_store(machine: LocalMachine) -> XenStore:
    """A second connection, of another process for all the store knows."""
    return machine.open_store()
