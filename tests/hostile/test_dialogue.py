"""A guest says anything at any time, in XenStore and in its rings: the agent lives, another guest
is served after each step, the trail says what was closed and why, and the guest is served as soon
as it minds the rules.

`make hostile SECONDS=600` takes more examples, and longer ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from agent_dom0.cards.toolstack import default_card
from tests.hostile.acts import query_all
from tests.hostile.evil_guest import EvilGuest
from tests.support.agents import Dom0, Guest
from tests.support.audit_table import assert_documented
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, eventually, words
from tests.support.shared_pages import (
    DIRECTORY_REFS_OFFSET,
    IN_CONS_OFFSET,
    REQ_PROD_OFFSET,
    RSP_PROD_OFFSET,
)
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import (
    PACKET_OCTETS,
    Close,
    Mute,
    Read,
    Request,
    SetVolume,
    Status,
    Trigger,
    TriggerRequest,
    Write,
    encode_request,
)
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import StreamRings, card_nodes
from xensnd.transport.interface import Store

EXAMPLES, STEPS = 12, 25  # within a part of a minute
LONG_STEPS, LONG_EXAMPLE_SECONDS = 60, 2
SOON_SECONDS = 0.3

_U32 = st.one_of(
    st.sampled_from(
        (0, 1, 4, 32, 33, BUFFER_OCTETS - 4, BUFFER_OCTETS, 2**31, 2**32 - 4, 2**32 - 1)
    ),
    st.integers(0, 2**32 - 1),
)
_RINGS = st.integers(0, 1)
_STREAM_NODES = (*StreamRings.NODES, "type", "unique-id", "sample-rates", "buffer-size")
_NODES = st.sampled_from(
    (
        *("state", "backend", "backend-id", "short-name", "sample-formats", "0/name", "7/0/type"),
        *(f"0/{index}/{name}" for index in (0, 1, 2) for name in _STREAM_NODES),
    )
)
_SUBTREES = st.sampled_from(("state", "0", "0/0", "0/1/type", "0/0/ring-ref", "0/0/event-channel"))
_PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\")
_TEXTS = st.one_of(
    st.sampled_from(("", "0", "1", "-1", "4294967295", "4294967296", "p", "c", "9" * 2000)),
    st.text(_PRINTABLE, max_size=40),
)


@st.composite
def _wrong_opens(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "rate_hz": _U32,
        "sample_format": st.sampled_from(SampleFormat),
        "channels": st.integers(0, 255),
        "buffer_octets": _U32,
        "period_octets": _U32,
        "directory_ref": _U32,
    }
    return {name: draw(fields[name]) for name in draw(st.sets(st.sampled_from(sorted(fields))))}


_REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.just(Close()),
    st.sampled_from(Trigger).map(TriggerRequest),
    *(st.builds(each, _U32, _U32) for each in (Read, Write, SetVolume, Mute)),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The machine, its agent, and another guest's frontend, which minds the rules."""

    machine: LocalMachine
    dom0: Dom0
    store: Store
    other_domid: int
    other: RawStream
    agent_pid: int
    names: Iterator[str]

    def let_agent_follow(self) -> None:
        """Until it has followed all that was written up to now: it is told of that in order, and
        shows what was written last."""
        name = next(self.names)
        self.store.write(f"/local/domain/{self.other_domid}/name", name)

        def is_shown() -> bool:
            return any(each["name"] == name for each in self.dom0.ask("status")["guests"])

        assert eventually(is_shown), self.dom0.end_of_log


@pytest.fixture(scope="module")
def stage(machine: LocalMachine, dom0: Dom0) -> Iterator[Stage]:
    names = map("other-{}".format, count())
    with (
        EvilGuest(machine, dom0, Guest(machine, "other")) as other,
        closing(machine.open_store()) as store,
    ):
        yield Stage(machine, dom0, store, other.domid, other.connect(), dom0.agent_pid, names)


class Dialogue(RuleBasedStateMachine):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._guest = Guest(stage.machine, "evil")
        self._evil = EvilGuest(stage.machine, stage.dom0, self._guest)
        self._has_left = False  # or did not say that it stays

    # As it should

    @rule()
    def goes_on_as_it_should(self) -> None:
        self._stage.let_agent_follow()  # or it may answer now to what was entered before
        match self._evil.backend_state():
            case XenbusState.INIT_WAIT:
                self.publishes_rings()
                self._enter(XenbusState.INITIALISED)
                connected = {XenbusState.CONNECTED, XenbusState.CLOSED}
                eventually(lambda: self._evil.backend_state() in connected, SOON_SECONDS)
                self._has_left = False
            case XenbusState.CONNECTED:
                self._enter(XenbusState.CONNECTED)
            case XenbusState.CLOSING | XenbusState.CLOSED:
                self._enter(XenbusState.CLOSED)

    @rule()
    def publishes_rings(self) -> None:
        """Others than before, whatever the state is."""
        self._evil.forget_streams()
        transport = self._evil.transport
        self._evil.streams = [RawStream(transport), RawStream(transport)]
        for number, stream in enumerate(self._evil.streams):
            nodes = stream.rings.nodes()
            self._write({f"0/{number}/{name}": nodes[name] for name in nodes})

    @rule(ring=_RINGS)
    def opens_and_starts(self, ring: int) -> None:
        stream = self._stream(ring)
        self._sends(stream, encode_request(1, stream.good_open()))
        self._sends(stream, encode_request(2, TriggerRequest(Trigger.START)))

    # As it should not

    @rule(state=st.sampled_from(XenbusState))
    def enters(self, state: XenbusState) -> None:
        self._enter(state)

    @rule(node=_NODES, text=_TEXTS)
    def writes(self, node: str, text: str) -> None:
        self._has_left |= node == "state"
        self._write({node: text})

    @rule(node=_SUBTREES)
    def removes(self, node: str) -> None:
        self._has_left |= node == "state"
        with suppress(OSError, KeyError):
            self._evil.store.remove(f"device/vsnd/0/{node}")

    @rule(ring=_RINGS, request=_REQUESTS)
    def asks(self, ring: int, request: Request) -> None:
        self._sends(self._stream(ring), encode_request(3, request))

    @rule(ring=_RINGS, changes=_wrong_opens())
    def opens_wrongly(self, ring: int, changes: dict[str, Any]) -> None:
        stream = self._stream(ring)
        self._sends(stream, encode_request(4, replace(stream.good_open(), **changes)))

    @rule(ring=_RINGS, packet=st.binary(min_size=PACKET_OCTETS, max_size=PACKET_OCTETS))
    def sends_garbage(self, ring: int, packet: bytes) -> None:
        self._sends(self._stream(ring), packet)

    @rule(ring=_RINGS, index=_U32)
    def runs_on_in_the_ring(self, ring: int, index: int) -> None:
        stream = self._stream(ring)
        stream.ring[REQ_PROD_OFFSET // 4] = (stream.sent + index) % 2**32
        stream.requests.notify()

    @rule(ring=_RINGS, index=_U32)
    def reads_events_that_are_not_there(self, ring: int, index: int) -> None:
        stream = self._stream(ring)
        stream.event_words[IN_CONS_OFFSET // 4] = index
        stream.events.notify()

    @rule(ring=_RINGS, number=st.integers(0, BUFFER_OCTETS // 4096 - 1), ref=_U32)
    def names_another_page_at_open(self, ring: int, number: int, ref: int) -> None:
        stream = self._stream(ring)
        request = stream.good_open()
        words(stream.directory)[DIRECTORY_REFS_OFFSET // 4 + number] = ref
        self._sends(stream, encode_request(5, request))

    @rule()
    def takes_its_pages_back(self) -> None:
        self._evil.forget_streams()

    @rule()
    def is_killed_and_comes_again(self) -> None:
        """Its process: the kernel takes all back that it had shared."""
        self._evil.close()
        self._evil = EvilGuest(self._stage.machine, self._stage.dom0, self._guest)

    # What must be true

    @invariant()
    def others_are_served(self) -> None:
        assert self._stage.other.ask(*query_all(self._stage.other)) == Status.OK

    @invariant()
    def agent_lives(self) -> None:
        assert self._stage.dom0.agent_pid == self._stage.agent_pid

    def teardown(self) -> None:
        dom0, domid = self._stage.dom0, self._guest.domid
        try:
            self._stage.let_agent_follow()
            if self._evil.backend_state() is XenbusState.CLOSED and not self._has_left:
                assert self._is_blamed(), f"closed, and nobody knows why\n{dom0.end_of_log}"
            self._minds_the_rules()
        finally:
            self._evil.close()
            self._guest.destroy()
        assert "Traceback" not in dom0.log
        assert_documented(dom0.events(domid=domid))

    def _minds_the_rules(self) -> None:
        store, card = self._evil.store, "device/vsnd/0"
        for pcm in filter(str.isdecimal, store.list(card)):
            store.remove(f"{card}/{pcm}")
        self._write(card_nodes(default_card()))
        self._evil.forget_streams()
        if not self._evil.tries_to_connect():  # only now it was closed for what it had said last
            self._evil.forget_streams()
            assert self._evil.tries_to_connect(), self._stage.dom0.end_of_log
        stream = self._evil.streams[0]
        assert stream.ask(stream.good_open()) == Status.OK

    def _is_blamed(self) -> bool:
        events, domid = self._stage.dom0.events, self._guest.domid
        return bool(
            events("protocol_violation", domid=domid) + events("device_failed", domid=domid)
        )

    def _stream(self, ring: int) -> RawStream:
        """One that nobody knows, if none was published."""
        streams, transport = self._evil.streams, self._evil.transport
        while len(streams) <= ring:
            streams.append(RawStream(transport))
        return streams[ring]

    def _enter(self, state: XenbusState) -> None:
        stays = state in {XenbusState.INITIALISED, XenbusState.CONNECTED}
        self._has_left |= not stays
        self._evil.enter(state)

    def _write(self, nodes: dict[str, str]) -> None:
        with suppress(OSError, KeyError):
            self._evil.write(nodes)

    def _sends(self, stream: RawStream, packet: bytes) -> None:
        """If there is room. Waits a moment for the answer, so that some follow each other."""
        stream.put(packet)
        stream.requests.notify()
        answered = RSP_PROD_OFFSET // 4
        eventually(lambda: stream.ring[answered] == stream.sent, SOON_SECONDS / 10)


def test_whatever_a_guest_says_the_agent_and_the_others_go_on(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    class OnThisStage(Dialogue):
        def __init__(self) -> None:
            super().__init__(stage)

    seconds = int(request.config.getoption("--seconds"))
    run_state_machine_as_test(
        OnThisStage,
        settings=settings(
            max_examples=max(EXAMPLES, seconds // LONG_EXAMPLE_SECONDS),
            stateful_step_count=LONG_STEPS if seconds else STEPS,
            deadline=None,
            phases=[Phase.generate],  # what a real process did once it may not do again
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
