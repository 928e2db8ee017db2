"""A guest without any driver breaks the rules on the real hypervisor: its device alone is closed,
that is audited, and its next correct attempt works. A neighbour with the stock driver is heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import Agent, Pulse
from tests.xen.guest import start_aplay
from tests.xen.lab import Lab, XenGuest
from tests.xen.peer import Peer
from tests.xen.remote import Ended, Machine
from xensnd.sndif.packets import Status
from xensnd.sndif.states import XenbusState

PLAYED = Ended(0)


@pytest.fixture(scope="module")
def hostile(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("hostile") as guest:
        yield guest


@pytest.fixture
def evil(hostile: XenGuest, agent: Agent) -> Iterator[Peer]:
    agent.await_event("device_made", guest="hostile")
    with Peer(hostile, "tests.xen.evil") as evil:
        yield evil
        assert evil.do("opens") == Status.OK


@contextmanager
def rewritten(evil: Peer, node: str, text: str) -> Iterator[None]:
    original = evil.do("read", node)
    evil.do("write", {node: text})
    try:
        yield
    finally:
        evil.do("write", {node: original})


def violation(agent: Agent, count: int) -> Any:
    return agent.await_event("protocol_violation", guest="hostile", count=count)["MESSAGE"]


def violations(agent: Agent) -> int:
    return len(agent.events("protocol_violation", guest="hostile"))


def closed(text: str) -> str:
    return f"hostile: device 0: {text}; the device is closed"


def test_card_without_pcms_is_closed(agent: Agent, evil: Peer) -> None:
    before = violations(agent)
    evil.do("offer_rings")
    pcm = evil.do("take_out", "0")
    evil.do("enter", XenbusState.INITIALISED)
    is_closed = evil.do("backend_becomes", XenbusState.CLOSED)
    evil.do("write", pcm)
    assert is_closed
    said = violation(agent, before + 1)
    assert said == closed("no PCM at the device, at least 1 is needed")


@pytest.mark.parametrize(
    ("node", "text", "said"),
    [
        ("0/0/ring-ref", "4711", "dom{} does not grant page 4711 to dom0"),
        (
            "0/0/event-channel",
            "4000",
            "dom{} offers no event channel 4000 to dom0",
        ),
        (
            "0/0/evt-ring-ref",
            "4294967295",
            "dom{} does not grant page 4294967295 to dom0",
        ),
        ("0/0/type", "x", "0/0/type holds 'x', allowed 'p' or 'c'"),
        ("0/0/channels-max", "0", "0/0/channels-max holds '0', allowed 1 to 255"),
    ],
)
def test_node_rewritten_to_what_is_not_there_closes_the_device(
    agent: Agent, hostile: XenGuest, evil: Peer, node: str, text: str, said: str
) -> None:
    before = violations(agent)
    evil.do("offer_rings")
    with rewritten(evil, node, text):
        evil.do("enter", XenbusState.INITIALISED)
        assert evil.do("backend_becomes", XenbusState.CLOSED)
    audited = violation(agent, before + 1)
    assert audited.startswith(f"hostile: device 0: {said.format(hostile.domid)}")
    assert audited.endswith("; the device is closed")


@pytest.mark.parametrize(
    ("node", "text"), [("0/0/sample-rates", "7,abc"), ("0/0/sample-formats", "mp3")]
)
def test_formats_and_rates_that_no_one_knows_close_the_device(
    agent: Agent, evil: Peer, node: str, text: str
) -> None:
    before = violations(agent)
    evil.do("offer_rings")
    with rewritten(evil, node, text):
        evil.do("enter", XenbusState.INITIALISED)
        assert evil.do("backend_becomes", XenbusState.CLOSED)
    assert node in violation(agent, before + 1)


def test_backend_rewritten_to_that_of_another_guest_changes_nothing(
    agent: Agent, guest: XenGuest, evil: Peer
) -> None:
    decided = len(agent.events("decision", guest="work"))
    with (
        agent.one_more("decision", guest="hostile", direction="playback"),
        rewritten(evil, "backend", f"/local/domain/0/backend/vsnd/{guest.domid}/0"),
    ):
        assert evil.do("opens") == Status.OK
    assert len(agent.events("decision", guest="work")) == decided


def test_playback_rewritten_to_capture_is_asked_as_capture(agent: Agent, evil: Peer) -> None:
    with (
        agent.one_more("decision", guest="hostile", direction="capture", decision="deny"),
        rewritten(evil, "0/0/type", "c"),
    ):
        assert evil.do("opens") == Status.OK


def test_buffer_that_is_not_granted_is_refused(agent: Agent, hostile: XenGuest, evil: Peer) -> None:
    before = violations(agent)
    assert evil.do("opens_without_pages") == Status.EINVAL
    said = f"hostile: playback 0/0: dom{hostile.domid} does not grant page 4711 to dom0"
    assert violation(agent, before + 1).startswith(said)


def test_index_beyond_the_ring_closes_the_device(agent: Agent, evil: Peer) -> None:
    before = violations(agent)
    evil.do("runs_beyond_the_ring")
    assert evil.do("backend_becomes", XenbusState.CLOSED)
    said = "stream 0/0: the request ring's index is out of range"
    assert violation(agent, before + 1) == closed(said)


def test_guest_that_stays_at_initialising_keeps_nobody_waiting(
    dom0: Machine, pulse: Pulse, guest: XenGuest, hostile: XenGuest, evil: Peer
) -> None:
    """Nor does one that breaks rules while the neighbour plays."""
    evil.do("enter", XenbusState.INITIALISING)
    played = noise(5, seed=3)
    with pulse.listening() as ears, start_aplay(guest, played) as playing:
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        evil.do("runs_beyond_the_ring")
        evil.do("backend_becomes", XenbusState.CLOSED)
        assert playing.ended() == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
    state = f"/local/domain/0/backend/vsnd/{hostile.domid}/0/state"
    assert dom0.do("xenstore-read", state).strip() == str(int(XenbusState.CLOSED))
