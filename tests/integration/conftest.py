"""A PulseAudio, a machine with guests and dom0's agent, shared by the tests of a module.

The tests use guests of their own, so that nothing is left of one test when the next begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.agents import ALLOW_PLAYBACK, PATIENT, Dom0, Guest, driver_of
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import RawStream

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseServer]:
    with PulseServer(tmp_path_factory.mktemp("pulse")) as pulse:
        yield pulse


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path_factory.mktemp("xen")) as machine:
        yield machine


@pytest.fixture(scope="module")
def dom0(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    machine: LocalMachine,
    pulse: PulseServer,
) -> Iterator[Dom0]:
    """With the policy that the module names as POLICY, or: all may play, nobody may record.

    OPTIONS of the module are for xensnd-dom0, besides what it always gets.
    """
    options = [PATIENT, *getattr(request.module, "OPTIONS", ())]
    policy = getattr(request.module, "POLICY", ALLOW_PLAYBACK)
    directory = tmp_path_factory.mktemp("dom0")
    with Dom0(directory, machine.url, pulse.address, policy=policy, options=options) as dom0:
        yield dom0
        assert "Traceback" not in dom0.log


@pytest.fixture
def new_guest(machine: LocalMachine) -> Iterator[Callable[[str], Guest]]:
    """`new_guest("work")`: a domain that is there until the test ends."""
    with ExitStack() as stack:

        def create(name: str) -> Guest:
            guest = Guest(machine, name)
            stack.callback(guest.destroy)
            return guest

        yield create


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


@pytest.hookimpl(tryfirst=True)  # before those are left out that were not asked for with -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sound in real time, on a machine that others share: a case that fails is run once more, and
    both are reported."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if item.path.is_relative_to(HERE / "sound"):
            item.add_marker(pytest.mark.alone)
