"""The adversary of tests/hostile as a guest of the real hypervisor: its vCPU is busy with nothing
but to harm, and its neighbour with the stock driver is heard octet for octet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.acts import ACTS, Said
from tests.hostile.vcpu import build_library
from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import Agent, Pulse
from tests.xen.guest import start_aplay
from tests.xen.lab import Lab, XenGuest, wait_until
from tests.xen.peer import Peer
from tests.xen.remote import Ended

PLAYED = Ended(0)
PLAYED_SECONDS = 4
AUDITED_SECONDS = 30
LIBRARY = "/run/adversary.so"

# Emulated, a guest is too slow to use up the other acts' budgets for sure.
AUDITED = ("refused WRITEs", "indices")


@pytest.fixture(scope="module")
def hostile(
    lab: Lab,
    agent: Agent,  # noqa: ARG001  (it makes the device)
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[XenGuest]:
    built = build_library(tmp_path_factory.mktemp("library"))
    with lab.guest("hostile") as guest:
        guest.write_file(LIBRARY, Path(built).read_bytes())
        yield guest


def await_said(agent: Agent, said: Said, count: int) -> None:
    """After so many events of the kind."""
    wait_until(
        lambda: any(
            said.text in each["MESSAGE"]
            for each in agent.events(said.kind, guest="hostile")[count:]
        ),
        AUDITED_SECONDS,
        lambda: f"no {said} in:\n{agent.log}",
    )


@pytest.mark.parametrize("name", ["WRITEs", "notifications", "queries", "OPEN and CLOSE", *AUDITED])
def test_guest_that_does_nothing_but_harm_costs_its_neighbour_nothing(
    agent: Agent, pulse: Pulse, guest: XenGuest, hostile: XenGuest, name: str
) -> None:
    before = {said: len(agent.events(said.kind, guest="hostile")) for said in ACTS[name].audited}
    worker = agent.worker
    played = noise(PLAYED_SECONDS, seed=5)
    with Peer(hostile, "tests.hostile.adversary", LIBRARY) as adversary:
        adversary.do("begin", name)
        with pulse.listening() as ears, start_aplay(guest, played) as playing:
            assert playing.ended() == PLAYED
            assert ears.hears(played), difference(played, ears.heard)
        if name in AUDITED:
            for said, count in before.items():
                await_said(agent, said, count)
        adversary.do("end")
    assert agent.worker == worker
