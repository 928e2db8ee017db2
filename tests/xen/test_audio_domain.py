"""The backend outside dom0: an audio domain has the agent, the audio server, policy and audit.

The toolstack gives guests their cards, `backend=audio`. The audio domain sees no other domain's
name: the toolstack writes it into the backend's directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import PATIENT, Agent, Pulse
from tests.xen.guest import aplay, arecord, load_driver
from tests.xen.lab import Lab, XenGuest
from tests.xen.remote import Ended, Machine
from tests.xen.traces import gives_all_back

POLICY = "version: 1\nrules:\n  - {guest: client, playback: allow, capture: deny}\n"
VSND = """vsnd = [ [
    "CARD, backend=audio, short-name=Xen0, long-name=XenCard, buffer-size=262144",
    "PCM, name=pcm0",
    "STREAM, unique-id=playback, type=p, channels-max=2, sample-rates=48000",
    "STREAM, unique-id=capture, type=c, channels-max=2, sample-rates=48000" ] ]"""
PLAYED = Ended(0)
# The guest, the agent and its audio server share one emulated processor here.
LONG_BUFFER = ("--buffer-size=65536", "--period-size=8192")


@pytest.fixture(scope="module")
def audio(lab: Lab) -> Iterator[XenGuest]:
    with lab.guest("audio", config="driver_domain = 1") as audio:
        yield audio


@pytest.fixture(scope="module")
def pulse(audio: XenGuest) -> Iterator[Pulse]:
    with Pulse(audio) as pulse:
        yield pulse


@pytest.fixture(scope="module")
def agent(audio: XenGuest, pulse: Pulse) -> Iterator[Agent]:
    with Agent(audio, pulse, PATIENT, policy=POLICY) as agent, gives_all_back(agent):
        yield agent
        assert "Traceback" not in agent.log


@pytest.fixture(scope="module")
def client(lab: Lab, dom0: Machine, audio: XenGuest, agent: Agent) -> Iterator[XenGuest]:
    with ExitStack() as stack:
        client = stack.enter_context(lab.guest("client", config=VSND))
        backend = f"/local/domain/{audio.domid}/backend/vsnd/{client.domid}/0"
        dom0.do("xenstore-write", f"{backend}/domain", "client")
        load_driver(client)
        agent.await_event("device_connected", guest="client")
        yield client


def test_guest_is_heard_in_the_audio_domain_octet_for_octet(
    agent: Agent, pulse: Pulse, client: XenGuest
) -> None:
    played = noise(5)
    with (
        agent.one_more("decision", guest="client", direction="playback", decision="allow"),
        pulse.listening() as ears,
    ):
        assert aplay(client, played, *LONG_BUFFER) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_microphone_is_denied_by_the_audio_domains_policy(
    agent: Agent, pulse: Pulse, client: XenGuest
) -> None:
    with (
        agent.one_more("decision", guest="client", direction="capture", decision="deny"),
        pulse.microphone(noise(8, seed=2)),
    ):
        assert arecord(client, 1) == Ended(0, octets=bytes(48000 * 4))


def test_agent_killed_in_the_audio_domain_leaves_the_guest_its_card(
    agent: Agent, pulse: Pulse, client: XenGuest
) -> None:
    agent.kill()
    agent.start()
    played = noise(1, seed=3)
    with pulse.listening() as ears:
        assert aplay(client, played, *LONG_BUFFER) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
