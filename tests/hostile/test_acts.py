"""A guest attacks the agent, each time in another way, and its neighbour's every frame is heard.
The guest is held back and named in the trail, the agent takes no more memory, its control socket
answers, and a guest that is denied the microphone records nothing from then on.

`make hostile SECONDS=600` lets all acts together take so long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.hostile.acts import HOSTILE_ACTS, Act, Said
from tests.hostile.stage import MAY_RECORD, Memory, performing, revoke
from tests.hostile.vcpu import build_library
from tests.support.agents import Dom0, Guest, Neighbour, neighbour_of
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually

pytestmark = pytest.mark.alone
POLICY = MAY_RECORD

MEMORY_KIB = 2048
LOOKS_MIN = 8
AUDITED_SECONDS = 20.0  # pauses of 10 ms to 2.56 s, and what comes between them


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--isolation"))


@pytest.fixture(scope="module")
def agent_options(isolation: str) -> list[str]:
    return [f"--isolation={isolation}"]


@pytest.fixture(scope="module")
def neighbour(
    machine: LocalMachine,
    dom0: Dom0,
    pulse: PulseServer,
    act_seconds: float,  # noqa: ARG001  (another one for each round)
) -> Iterator[Neighbour]:
    guest = Guest(machine, "neighbour")
    with ExitStack() as stack:
        stack.enter_context(pulse.microphone(noise(150)))
        neighbour = stack.enter_context(neighbour_of(pulse, guest))
        dom0.await_event("stream_started", domid=guest.domid)
        yield neighbour
        assert "the agent died" not in dom0.log
    guest.destroy()


@pytest.fixture
def evil(new_guest: Callable[[str], Guest]) -> Guest:
    return new_guest("evil")


def is_audited(dom0: Dom0, guest: Guest, said: Said) -> bool:
    return any(said.text in each["MESSAGE"] for each in dom0.events(said.kind, domid=guest.domid))


@pytest.mark.parametrize("act", HOSTILE_ACTS, ids=lambda act: act.name)
def test_nobody_else_notices(
    act: Act,
    act_seconds: float,
    isolation: str,
    machine: LocalMachine,
    dom0: Dom0,
    neighbour: Neighbour,
    evil: Guest,
    library: Path,
) -> None:
    agent, memory = dom0.agent_pid, Memory(dom0.agent_pid)
    until = time.monotonic() + act_seconds
    looks = 0
    with performing(machine, evil, act.name, library) as adversary:
        for said in act.told(isolation):
            assert eventually(partial(is_audited, dom0, evil, said), AUDITED_SECONDS), (
                f"no {said} at the end of:\n{dom0.end_of_log}"
            )
        while looks < LOOKS_MIN or time.monotonic() < until:
            neighbour.assert_undisturbed()
            assert dom0.ask("status")["guests"]
            memory.look()
            looks += 1
        if act.records:
            print(f"live for {revoke(dom0, adversary):.1f} ms after the policy was written")
            heard = adversary.do("live_octets")
            neighbour.assert_undisturbed()
            assert adversary.do("live_octets") == heard
    neighbour.assert_undisturbed()
    print(f"memory: {memory.growth_kib:+} KiB")
    assert memory.growth_kib <= MEMORY_KIB
    assert dom0.agent_pid == agent
