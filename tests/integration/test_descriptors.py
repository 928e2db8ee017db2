"""File descriptors at their limit: a card waits, and the agent goes on listening to people."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from agent_dom0.control.server import CLIENTS_MAX
from agent_dom0.parameters import MAX_STREAMS
from tests.support.agents import ALLOW_PLAYBACK, Dom0, Guest, driver_of
from tests.support.large_card import MANY_STREAMS, offer_large_card
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import eventually
from xensnd.sndif.states import XenbusState

STREAMS = 40  # each takes five descriptors
FEW = 280  # not enough for them, when some are reserved
ENOUGH = 1024


def agent(tmp_path: Path, machine: LocalMachine, policy: str, descriptors: int) -> Dom0:
    """Without an audio server, which none of these tests needs."""
    return Dom0(
        tmp_path / "dom0",
        machine.url,
        f"unix:{tmp_path}/nobody",
        policy=policy,
        prefix=["prlimit", f"--nofile={descriptors}:{ENOUGH}"],
    )


def test_card_with_more_streams_than_its_share_waits_until_a_rule_allows_them(
    tmp_path: Path, machine: LocalMachine, new_guest: Callable[[str], Guest]
) -> None:
    big = new_guest("big")
    with (
        agent(tmp_path, machine, ALLOW_PLAYBACK, ENOUGH) as dom0,
        driver_of(machine, dom0, big) as frontend,
    ):
        offer_large_card(frontend, STREAMS)
        failed = dom0.await_event("device_failed", domid=big.domid)
        assert failed["MESSAGE"] == (
            f"big: device 0: {STREAMS} streams, and the guest may have {2 * MAX_STREAMS} "
            "(max-streams); it is tried again"
        )
        assert frontend.backend_state() is XenbusState.INIT_WAIT
        dom0.use(MANY_STREAMS)
        frontend.await_backend(XenbusState.CONNECTED)
        assert len(dom0.events("device_failed")) == 1


def test_agent_at_the_limit_answers_reads_policy_and_audits_and_the_card_comes_later(
    tmp_path: Path, machine: LocalMachine, new_guest: Callable[[str], Guest]
) -> None:
    big = new_guest("big")
    with (
        agent(tmp_path, machine, MANY_STREAMS, FEW) as dom0,
        driver_of(machine, dom0, big) as frontend,
    ):
        offer_large_card(frontend, STREAMS)
        failed = dom0.await_event("device_failed", domid=big.domid)
        assert failed["MESSAGE"] == (
            f"big: device 0: {5 * STREAMS} file descriptors are needed, and too few of {FEW} are "
            "left; 128 are reserved; it is tried again"
        )
        with ExitStack() as stack:
            for _ in range(CLIENTS_MAX):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(10)
                client.connect(str(dom0.control))
                client.sendall(b'{"version": 1, "do": "status"}\n')
                answer = stack.enter_context(client.makefile("rb")).readline()
                assert json.loads(answer)["ok"]
            dom0.use(MANY_STREAMS + "\n")
            late = new_guest("late")
            dom0.await_event("device_made", domid=late.domid)

        resource.prlimit(dom0.agent_pid, resource.RLIMIT_NOFILE, (ENOUGH, ENOUGH))
        frontend.await_backend(XenbusState.CONNECTED)
        assert len(dom0.events("device_failed")) == 1
        assert "Traceback" not in dom0.log
        assert "the agent died" not in dom0.log


def test_client_that_could_not_be_accepted_is_answered_when_it_can_be(
    tmp_path: Path, machine: LocalMachine
) -> None:
    with agent(tmp_path, machine, ALLOW_PLAYBACK, ENOUGH) as dom0:
        used = len(os.listdir(f"/proc/{dom0.agent_pid}/fd"))
        resource.prlimit(dom0.agent_pid, resource.RLIMIT_NOFILE, (used, ENOUGH))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(dom0.control))
            client.sendall(b'{"version": 1, "do": "status"}\n')
            said = "control: no client can be accepted: [Errno 24] Too many open files"
            assert eventually(lambda: said in dom0.log)
            assert not select.select([client], [], [], 0)[0]
            resource.prlimit(dom0.agent_pid, resource.RLIMIT_NOFILE, (ENOUGH, ENOUGH))
            assert json.loads(client.makefile("rb").readline())["ok"]
        assert dom0.log.count(said) == 1
        assert "Traceback" not in dom0.log


def test_policy_that_could_not_be_opened_is_read_when_it_can_be(
    tmp_path: Path, machine: LocalMachine
) -> None:
    with agent(tmp_path, machine, ALLOW_PLAYBACK, ENOUGH) as dom0:
        used = len(os.listdir(f"/proc/{dom0.agent_pid}/fd"))
        resource.prlimit(dom0.agent_pid, resource.RLIMIT_NOFILE, (used, ENOUGH))
        dom0.write_policy(MANY_STREAMS)
        rejected = dom0.await_event("policy_rejected")
        assert "Too many open files; capture is denied" in rejected["MESSAGE"]
        with dom0.one_more("policy_loaded"):
            resource.prlimit(dom0.agent_pid, resource.RLIMIT_NOFILE, (ENOUGH, ENOUGH))
        assert len(dom0.events("policy_rejected")) == 1
        assert "Traceback" not in dom0.log
