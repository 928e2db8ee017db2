"""Guests and streams of their own for the tests, and which tests run beside which others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0, Guest, driver_of
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import RawStream
from tests.support.servers import agent_options, dom0, machine, new_guest, pulse, pulse_runs
from tests.support.urgency import may_be_urgent

__all__ = ["agent_options", "dom0", "machine", "new_guest", "pulse", "pulse_runs"]

HERE = Path(__file__).parent


@pytest.fixture
def work(new_guest: Callable[[str], Guest]) -> Guest:
    return new_guest("work")


@pytest.fixture
def stream(
    machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest]
) -> Iterator[RawStream]:
    """A playback of a guest's that has connected, and not opened yet."""
    with driver_of(machine, dom0, new_guest("work")) as frontend:
        yield frontend.connect()


@pytest.fixture
def own_dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    """dom0's agent for one test alone, which starts it and may end it."""
    dom0 = Dom0(tmp_path / "dom0", machine.url, pulse.address, options=[PATIENT])
    yield dom0
    if dom0.process is not None:
        assert dom0.stop() == 0
    assert "Traceback" not in dom0.log
    assert "the agent died" not in dom0.log


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`, for cases that sound: without real-time priority, each would hear the other."""
    return 2 if may_be_urgent() else 1


@pytest.hookimpl(tryfirst=True)  # before those are left out that were not asked for with -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sound in real time, on a machine that others share: a case that fails is run once more, and
    both are reported."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if item.path.is_relative_to(HERE / "sound") and not item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.sound)
