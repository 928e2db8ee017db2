"""A PulseAudio, a machine with guests and dom0's agent, shared by the tests of a module.

The tests use guests of their own, so that nothing is left of one test when the next begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.agents import ALLOW_PLAYBACK, PATIENT, Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseServer]:
    with PulseServer(tmp_path_factory.mktemp("pulse")) as pulse:
        yield pulse


@pytest.fixture(autouse=True)
def pulse_runs(request: pytest.FixtureRequest) -> None:
    """The end of a server fails the test in which it ended, and not all that come after it."""
    if "pulse" in request.fixturenames:
        pulse = request.getfixturevalue("pulse")
        if isinstance(pulse, PulseServer) and pulse.has_ended:
            pulse.stop()
            pulse.start()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path_factory.mktemp("xen")) as machine:
        yield machine


@pytest.fixture(scope="module")
def agent_options(request: pytest.FixtureRequest) -> list[str]:
    """OPTIONS of the module: for xensnd-dom0, besides what it always gets."""
    return list(getattr(request.module, "OPTIONS", ()))


@pytest.fixture(scope="module")
def dom0(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    machine: LocalMachine,
    pulse: PulseServer,
    agent_options: list[str],
) -> Iterator[Dom0]:
    """With the policy that the module names as POLICY, or: all may play, nobody may record."""
    with Dom0(
        tmp_path_factory.mktemp("dom0"),
        machine.url,
        pulse.address,
        policy=getattr(request.module, "POLICY", ALLOW_PLAYBACK),
        options=[PATIENT, *agent_options],
    ) as dom0:
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
