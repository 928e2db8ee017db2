"""What a guest may write of its vchans: it is closed and audited, and no other guest notices."""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import pytest

from agent_dom0.streams.throttle import (
    CONNECTIONS_A_SECOND,
    CONNECTIONS_AT_ONCE,
    REQUESTS_A_SECOND,
    STORE_EVENTS_A_SECOND,
)
from tests.support.agents import Dom0
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import VchanGuest
from tests.support.vchan_server import LEFT_CONS, RIGHT_PROD, VchanServer
from xensnd.errors import TransportLost, UsageError
from xensnd.transport.interface import Store
from xensnd.vchan.control import ControlWord
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

OPTIONS = ("--vchan",)
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
pytestmark = pytest.mark.usefixtures("neighbour")
CONNECTED_SECONDS = 20  # these cases give way to those that run beside them


@pytest.fixture
def neighbour(machine: LocalMachine, dom0: Dom0) -> Iterator[VchanGuest]:
    """A guest that does all right. Whatever another one does, it stays connected."""
    with ExitStack() as stack:
        guest = VchanGuest(machine, "neighbour")
        stack.callback(machine.destroy, "neighbour")
        stack.enter_context(guest)
        assert eventually(lambda: guest.is_connected, CONNECTED_SECONDS), dom0.end_of_log
        yield guest
        assert guest.connections == 1
        assert guest.is_connected


@dataclass(frozen=True, slots=True)
class Evil:
    """A guest whose vchans are in the test's hands."""

    store: Store
    domid: int
    make: Callable[..., VchanServer]

    def offer(self) -> tuple[VchanServer, VchanServer]:
        """As PulseAudio's module does."""
        servers = self.make(PLAYBACK_PORT, 11, 13), self.make(CAPTURE_PORT, 13, 11)
        for server in servers:
            server.offer()
        return servers

    def connect(self) -> tuple[VchanServer, VchanServer]:
        servers = self.offer()
        assert eventually(lambda: all(server.has_client for server in servers))
        for server in servers:
            server.withdraw()
        return servers


def destroy(machine: LocalMachine) -> None:
    with suppress(UsageError):  # a test has done it
        machine.destroy("evil")


def close(server: VchanServer) -> None:
    with suppress(TransportLost, OSError):  # its domain was destroyed
        server.close()


@pytest.fixture
def evil(machine: LocalMachine, dom0: Dom0) -> Iterator[Evil]:
    domid = machine.create("evil")
    transport, store = machine.transport("evil"), machine.open_store("evil")
    with ExitStack() as stack:
        stack.callback(destroy, machine)
        dom0.await_event("device_made", domid=domid)  # not while the test destroys the guest

        def make(port: int, left_order: int, right_order: int) -> VchanServer:
            server = VchanServer(transport, store, port, left_order, right_order)
            stack.callback(close, server)
            return server

        yield Evil(store, domid, make)
    assert "Traceback" not in dom0.log


def violation(dom0: Dom0, evil: Evil) -> str:
    event = dom0.await_event("protocol_violation", guest="evil", domid=evil.domid)
    return str(event["MESSAGE"])


def test_index_out_of_range_closes_both_vchans(dom0: Dom0, evil: Evil) -> None:
    playback, capture = evil.connect()
    playback.set_index(RIGHT_PROD, 0x12345678)
    playback.channel.notify()
    text = "evil: device vchan: 4713: a ring's index is out of range; it is closed"
    assert violation(dom0, evil) == text
    assert eventually(lambda: not playback.is_open and not capture.is_open)


def test_guest_that_has_read_what_was_not_there_is_closed(dom0: Dom0, evil: Evil) -> None:
    playback, capture = evil.connect()
    capture.set_index(LEFT_CONS, 0xFFFF0000)
    capture.write(struct.pack("<I", 0x00010001))
    assert "4714: a ring's index is out of range" in violation(dom0, evil)
    assert eventually(lambda: not playback.is_open)


def test_guest_that_was_closed_may_offer_its_vchans_anew(dom0: Dom0, evil: Evil) -> None:
    playback, _ = evil.connect()
    playback.set_index(RIGHT_PROD, 0x12345678)
    playback.channel.notify()
    violation(dom0, evil)
    evil.connect()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (16, struct.pack("<H", 9), "left ring of order 9, allowed 10 to 20"),
        (18, struct.pack("<H", 65535), "right ring of order 65535, allowed 10 to 20"),
        (18, struct.pack("<H", 11), "both rings of order 11 in the page"),
        (24, struct.pack("<I", 0xFFFFFFFF), "grants no page 4294967295 to dom0"),
        (18, struct.pack("<H", 20), "grants no page 0 to dom0"),
    ],
)
def test_page_that_no_client_can_use_is_refused(
    dom0: Dom0, evil: Evil, at: int, value: bytes, message: str
) -> None:
    playback, capture = evil.make(PLAYBACK_PORT, 11, 13), evil.make(CAPTURE_PORT, 13, 11)
    ctypes.memmove(playback.page_address + at, value, len(value))
    for server in (playback, capture):
        server.offer()
    assert message in violation(dom0, evil)
    assert not playback.has_client
    assert len(dom0.events("protocol_violation", domid=evil.domid)) < 4  # not again and again


@pytest.mark.parametrize(
    ("node", "value", "message"),
    [
        ("ring-ref", "x", "ring-ref holds 'x'"),
        ("ring-ref", "0", "ring-ref holds '0'"),
        ("ring-ref", "77777", "grants no page 77777 to dom0"),
        ("event-channel", "", "event-channel holds ''"),
        ("event-channel", "77777", "offers no event channel 77777 to dom0"),
        ("event-channel", "4294967296", "event-channel holds '4294967296'"),
    ],
)
def test_nodes_that_point_elsewhere_are_refused(
    dom0: Dom0, evil: Evil, node: str, value: str, message: str
) -> None:
    evil.make(CAPTURE_PORT, 13, 11).offer()
    playback = evil.make(PLAYBACK_PORT, 11, 13)
    directory = playback.nodes.directory
    values = {"ring-ref": str(playback.page_ref), "event-channel": str(playback.channel.port)}
    for name, each in (values | {node: value}).items():
        evil.store.write(f"{directory}/{name}", each)
    assert message in violation(dom0, evil)


def test_rings_of_more_memory_than_any_module_has_are_refused(dom0: Dom0, evil: Evil) -> None:
    for port in (PLAYBACK_PORT, CAPTURE_PORT):
        evil.make(port, 20, 20).offer()
    assert "vchan rings of 4194304 octets in all, allowed 2097152" in violation(dom0, evil)


def test_one_vchan_alone_is_not_connected(dom0: Dom0, evil: Evil) -> None:
    playback = evil.make(PLAYBACK_PORT, 11, 13)
    playback.offer()
    time.sleep(0.3)
    assert not playback.has_client
    capture = evil.make(CAPTURE_PORT, 13, 11)
    capture.offer()
    assert eventually(lambda: playback.has_client and capture.has_client), dom0.end_of_log


@pytest.mark.parametrize("state", ["nothing", "one", "both", "connected", "recording"])
def test_guest_that_goes_in_any_state_leaves_nothing(
    machine: LocalMachine, dom0: Dom0, evil: Evil, state: str
) -> None:
    """Destroyed, so that nothing is closed by it."""
    match state:
        case "one":
            evil.make(PLAYBACK_PORT, 11, 13).offer()
        case "both":
            evil.offer()
        case "connected":
            evil.connect()
        case "recording":
            _, capture = evil.connect()
            capture.write(struct.pack("<I", ControlWord.SOURCE_START))
            dom0.await_event("stream_started", direction="capture", domid=evil.domid)
    machine.destroy("evil")
    guests = partial(dom0.ask, "status")
    assert eventually(lambda: "evil" not in {each["name"] for each in guests()["guests"]})
    saved = machine.directory / "dom0" / "vchans" / str(evil.domid)
    assert eventually(lambda: not saved.exists())


def test_second_server_on_a_port_takes_the_place_of_the_first(dom0: Dom0, evil: Evil) -> None:
    first, _ = evil.connect()
    second, _ = evil.connect()
    assert eventually(lambda: not first.is_open)
    assert second.has_client
    assert not dom0.events("protocol_violation", domid=evil.domid)


def test_guest_that_closes_its_ends_before_it_removes_its_offer_does_nothing_wrong(
    dom0: Dom0, evil: Evil
) -> None:
    servers = evil.offer()
    assert eventually(lambda: all(server.has_client for server in servers))
    with dom0.one_more("device_disconnected", domid=evil.domid):
        for server in servers:
            server.unshare()
    for server in servers:
        server.withdraw()
    evil.connect()
    assert not dom0.events("protocol_violation", domid=evil.domid)


def test_nodes_that_are_removed_and_put_back_are_an_offer_once(dom0: Dom0, evil: Evil) -> None:
    servers = playback, capture = evil.make(PLAYBACK_PORT, 11, 13), evil.make(CAPTURE_PORT, 13, 11)
    playback.offer()
    playback.withdraw()
    capture.offer()
    time.sleep(0.3)
    assert not capture.has_client
    playback.offer()
    assert eventually(lambda: all(server.has_client for server in servers)), dom0.end_of_log
    for change in (VchanServer.withdraw, VchanServer.offer, VchanServer.withdraw):
        for server in servers:
            change(server)
    with dom0.one_more("stream_started", direction="capture", domid=evil.domid):
        capture.write(struct.pack("<I", ControlWord.SOURCE_START))
    assert all(server.is_open for server in servers)
    assert len(dom0.events("device_connected", domid=evil.domid)) == 1
    assert not dom0.events("protocol_violation", domid=evil.domid)


def test_guest_that_offers_again_and_again_is_connected_a_few_times_a_second(
    dom0: Dom0, evil: Evil
) -> None:
    began = time.monotonic()
    for _ in range(40):
        playback, capture = evil.offer()
        playback.await_event(0.05)
        playback.close()
        capture.close()
    dom0.await_event("limit_hit", guest="evil", domid=evil.domid)
    seconds = time.monotonic() - began
    connected = len(dom0.events("device_connected", domid=evil.domid))
    assert connected <= CONNECTIONS_AT_ONCE + CONNECTIONS_A_SECOND * (seconds + 1)


def test_guest_that_writes_its_nodes_endlessly_waits(dom0: Dom0, evil: Evil) -> None:
    nodes = evil.make(PLAYBACK_PORT, 11, 13).nodes
    end = time.monotonic() + 20
    while time.monotonic() < end and not dom0.events("limit_hit", domid=evil.domid):
        for count in range(4 * STORE_EVENTS_A_SECOND):
            evil.store.write(nodes.event_channel, str(count + 1))
    event = dom0.await_event("limit_hit", guest="evil", domid=evil.domid)
    assert f"more than {STORE_EVENTS_A_SECOND} changes of its nodes" in event["MESSAGE"]


def test_guest_that_says_more_than_is_listened_to_waits(dom0: Dom0, evil: Evil) -> None:
    _, capture = evil.connect()
    words = struct.pack("<2I", 0x00020000, 0x00020001)
    said = 0
    while said < 3 * REQUESTS_A_SECOND:
        said += capture.write(words) // 4
        capture.await_event(0.01)
    event = dom0.await_event("limit_hit", guest="evil", domid=evil.domid)
    assert f"{REQUESTS_A_SECOND} control words within a second" in event["MESSAGE"]
    assert dom0.shown("evil")["devices"]
