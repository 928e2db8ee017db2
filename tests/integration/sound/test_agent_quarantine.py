"""A guest that the agent dies of: after the second time it is left alone, and nobody else notices.

The hostile guest is this process. The death is made here: the agent's process is stopped again and
again until it is found in the middle of a request of that guest, and is killed there.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_dom0.streams.quarantine import FIRST_SECONDS
from tests.hostile.acts import write_all_over
from tests.hostile.evil_guest import EvilGuest
from tests.hostile.vcpu import Busy, build_library
from tests.support.agents import QUEUED_MSEC, Dom0, Guest
from tests.support.asking import next_event
from tests.support.heard import gaps_of_whole, seconds_heard
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, eventually, words
from tests.support.shared_pages import RSP_PROD_OFFSET
from xensnd.control.client import AgentClient
from xensnd.sndif.packets import (
    HwParamQuery,
    Status,
    Trigger,
    TriggerRequest,
    encode_request,
)
from xensnd.sndif.params import HwParams, Interval
from xensnd.sndif.states import XenbusState

pytestmark = pytest.mark.alone

ALL = Interval(1, 2**32 - 1)
QUERY = HwParamQuery(HwParams(2**62 - 1, ALL, ALL, ALL, ALL))
FOUND_SECONDS = 30.0
PYTHON, CORE = 0, 1


@pytest.fixture
def evil(
    machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest]
) -> Iterator[EvilGuest]:
    with EvilGuest(machine, dom0, new_guest("evil")) as evil:
        evil.connect()
        dom0.await_event("device_connected", domid=evil.domid)
        yield evil


def is_answered(stream: RawStream) -> bool:
    return stream.ring[RSP_PROD_OFFSET // 4] == stream.sent


@contextmanager
def asking(stream: RawStream) -> Iterator[None]:
    """The guest has a request in its ring all the time."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            stream.put(encode_request(stream.sent & 0xFFFF, QUERY))
            stream.requests.notify()
            eventually(lambda: is_answered(stream) or ended.is_set(), FOUND_SECONDS)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def await_stop(pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat")
    assert eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def kill_agent_while_it_serves(machine: LocalMachine, dom0: Dom0, name: str, word: int) -> None:
    """That guest and no other, as the agent has it written: Python in one word, or the core."""
    records = {
        guest["name"]: machine.directory / "dom0" / "guests" / guest["uuid"]
        for guest in dom0.ask("status")["guests"]
    }
    agent = dom0.agent_pid
    deadline = time.monotonic() + FOUND_SECONDS
    while time.monotonic() < deadline:
        os.kill(agent, signal.SIGSTOP)
        await_stop(agent)
        words = {
            name: struct.unpack_from("<2I", path.read_bytes()) for name, path in records.items()
        }
        if [each for each in words if any(words[each])] == [name] and words[name][word]:
            os.kill(agent, signal.SIGKILL)
            return
        os.kill(agent, signal.SIGCONT)
        time.sleep(0.003)  # it goes on a bit
    pytest.fail(f"the agent was never found serving {name}")


def test_guest_that_kills_the_agent_twice_is_left_alone_and_its_neighbour_plays_on(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, work: Guest, evil: EvilGuest
) -> None:
    stream, played = evil.streams[0], noise(6)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        with asking(stream):
            for deaths, seconds in ((1, 1), (2, 3)):
                ears.listen_until(seconds_heard(seconds))
                kill_agent_while_it_serves(machine, dom0, "evil", PYTHON)
                dom0.await_event("stream_taken_over", domid=work.domid, count=deaths)
                dom0.await_event("died_serving", domid=evil.domid, count=deaths)
        said = dom0.await_event("guest_quarantined", domid=evil.domid)
        assert "what served this guest died 2 times" in said["MESSAGE"]
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) <= 2
    assert not dom0.events("died_serving", domid=work.domid)

    # Taken over after the first death and not after the second, and its card has not moved.
    assert len(dom0.events("device_connected", domid=evil.domid)) == 2
    assert evil.backend_state() is XenbusState.CONNECTED
    assert not is_answered(stream)
    assert 0 < dom0.shown("evil")["quarantine_seconds"] <= FIRST_SECONDS
    assert dom0.shown("work")["quarantine_seconds"] is None
    control = f"--control={dom0.control}"
    assert "evil: in quarantine for " in dom0.policy(control, "status").stdout

    with AgentClient(dom0.control) as agent:
        agent.ask("watch")
        assert next_event(agent, "quarantine")["guests"] == ["evil"]
        assert dom0.policy(control, "release", "evil").returncode == 0
        assert next_event(agent, "quarantine")["guests"] == []
    dom0.await_event("guest_released", domid=evil.domid)
    dom0.await_event("device_connected", domid=evil.domid, count=3)
    assert stream.answers(1)[0].status == Status.OK
    assert dom0.shown("evil")["quarantine_seconds"] is None
    again = dom0.policy(control, "release", "evil")
    assert (again.returncode, "not in quarantine" in again.stderr) == (2, True)


def test_guest_whose_samples_the_core_moves_at_the_death_is_named_as_well(
    tmp_path: Path, dom0: Dom0, machine: LocalMachine, evil: EvilGuest
) -> None:
    stream = evil.streams[0]
    assert stream.ask(stream.good_open()) == Status.OK
    words(stream.buffer).cast("B")[:] = b"\x11" * BUFFER_OCTETS  # silence would not be given
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    library = build_library(tmp_path)
    with Busy(library, "flood_ring", stream, write_all_over(stream), notifies=False):
        kill_agent_while_it_serves(machine, dom0, "evil", CORE)
        dom0.await_event("died_serving", domid=evil.domid)
    dom0.await_event("stream_taken_over", domid=evil.domid)
