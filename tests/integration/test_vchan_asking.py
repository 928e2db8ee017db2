"""Policy asks about a Qubes guest's microphone: when its source starts, and not before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.agents import Dom0
from tests.support.asking import next_event
from tests.support.heard import without_silence
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import SECOND_OCTETS, VchanGuest
from xensnd.control.client import AgentClient

OPTIONS = ("--vchan", "--ask-seconds=30")
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: ask\n'


@pytest.fixture(autouse=True)
def microphone(pulse: PulseServer) -> Iterator[None]:
    with pulse.microphone(noise(60, rate_hz=44100), rate_hz=44100):
        yield


@pytest.fixture
def guest(machine: LocalMachine, dom0: Dom0) -> Iterator[VchanGuest]:
    with VchanGuest(machine, "work") as guest:
        assert eventually(lambda: guest.is_connected), dom0.end_of_log
        yield guest
    machine.destroy("work")


def goes_live(guest: VchanGuest) -> bool:
    arrived = len(guest.recorded)
    return bool(eventually(lambda: without_silence(bytes(guest.recorded[arrived:]))))


def stays_silent(guest: VchanGuest) -> bool:
    arrived = len(guest.recorded)
    assert eventually(lambda: len(guest.recorded) > arrived + SECOND_OCTETS)
    return not without_silence(bytes(guest.recorded[arrived:]))


def test_person_is_asked_each_time_that_the_source_starts(dom0: Dom0, guest: VchanGuest) -> None:
    with AgentClient(dom0.control) as viewer:
        viewer.ask("watch")
        dom0.await_event("stream_started", guest="work", direction="playback")
        assert not dom0.events("prompt_shown", guest="work")
        numbers = []
        for _ in range(2):
            guest.start_recording()
            numbers.append(int(next_event(viewer, "prompt")["prompt"]["id"]))
            assert stays_silent(guest)
            answer_once(dom0, numbers[-1])
            assert goes_live(guest)
            with dom0.one_more("stream_closed", guest="work", direction="capture"):
                guest.stop_recording()
        assert numbers[0] != numbers[1]


def answer_once(dom0: Dom0, number: int) -> None:
    dom0.ask("answer", id=number, guest="work", direction="capture", answer="once")


def test_answer_holds_for_the_next_agent_too(dom0: Dom0, guest: VchanGuest) -> None:
    with AgentClient(dom0.control) as viewer:
        viewer.ask("watch")
        guest.start_recording()
        answer_once(dom0, int(next_event(viewer, "prompt")["prompt"]["id"]))
        assert goes_live(guest)
        with dom0.one_more("stream_taken_over", guest="work", direction="capture"):
            os.kill(dom0.agent_pid, signal.SIGKILL)
    assert goes_live(guest)
    assert guest.connections == 1
