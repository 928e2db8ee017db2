"""The opener between an agent and XenStore: what it refuses, and what it bounds."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pyxs._internal import Op

from agent_dom0.cards.device import DevicePath
from agent_dom0.cards.toolstack import make_device, remove_device
from agent_dom0.opener.lasting import OF_A_GUEST_MAX, LastingChannels
from agent_dom0.opener.process import CONNECTIONS_MAX, Opener
from agent_dom0.opener.reach import READ_SECONDS, Reach
from tests.support.local_machine import LocalMachine
from tests.support.opener import Anything, RunningOpener
from tests.support.raw_frontend import eventually
from tests.support.vchan_page import ring_pages, vchan_page
from xensnd.errors import RemoteProtocolError, TransportLost
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import EventChannel, Pages, Store
from xensnd.transport.local import LocalTransport
from xensnd.transport.store_proxy import TRANSACTIONS_MAX

_HEADER = struct.Struct("=IIII")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path_factory.mktemp("xen")) as machine:
        yield machine


@pytest.fixture
def opener(machine: LocalMachine) -> Iterator[RunningOpener]:
    with RunningOpener(machine) as opener:
        yield opener


@pytest.fixture
def store(opener: RunningOpener) -> Iterator[Store]:
    with contextlib.closing(opener.transport.open_store()) as store:
        yield store


def test_agent_makes_and_removes_a_card(machine: LocalMachine, store: Store) -> None:
    path = DevicePath(0, machine.create("work"), 0)
    make_device(store, path)
    assert machine.open_store().read(f"{path.backend}/provisioned-by") == "xensnd"
    remove_device(store, path)
    with pytest.raises(KeyError):
        machine.open_store().read(f"{path.backend}/state")


def test_agent_that_was_taken_over_writes_nothing_else(
    machine: LocalMachine, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    domid = machine.create("victim")
    for path in (f"/local/domain/{domid}/data/x", "/local/domain/0/backend/vbd/1/0", "/tool/x"):
        with pytest.raises(PermissionError):
            store.write(path, "1")
        with pytest.raises(KeyError):
            machine.open_store().read(path)
    with pytest.raises(PermissionError), store.transaction() as transaction:
        transaction.remove(f"/local/domain/{domid}")
    assert machine.open_store().read(f"/local/domain/{domid}/name") == "victim"
    said = capfd.readouterr().err.splitlines()
    assert said[0] == (
        "xensnd-dom0: refused the agent in XenStore: WRITE "
        f"'/local/domain/{domid}/data/x', which no agent needs"
    )
    assert len(said) == 4


class Frontend:
    """A guest's driver, as far as an opener looks at it: what it shares, and what it publishes."""

    def __init__(self, machine: LocalMachine, name: str) -> None:
        self.domid = machine.create(name)
        transport = machine.transport(name)
        self._store = machine.open_store(name)
        self.refs = transport.share_pages(0, 3).refs
        self.port = transport.allocate_channel(0).port
        self.hidden_port = transport.allocate_channel(0).port

    def publish(self) -> None:
        self._store.write("device/vsnd/0/0/0/ring-ref", str(self.refs[0]))
        self._store.write("device/vsnd/0/0/0/event-channel", str(self.port))


def test_guest_is_reached_once_its_card_is_used(
    machine: LocalMachine, opener: RunningOpener, store: Store
) -> None:
    guest = Frontend(machine, "user")
    unused = f"dom{guest.domid} has no card that it uses"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=unused):
            opener.transport.map_pages(guest.domid, guest.refs, writable=True)
        with pytest.raises(RemoteProtocolError, match="publishes no event channel"):
            opener.transport.bind_channel(guest.domid, guest.port)
        make_device(store, DevicePath(0, guest.domid, 0))  # which an agent can do by itself
    guest.publish()
    opener.transport.map_pages(guest.domid, guest.refs, writable=True).close()
    opener.transport.bind_channel(guest.domid, guest.port).close()
    with pytest.raises(RemoteProtocolError, match="publishes no event channel"):
        opener.transport.bind_channel(guest.domid, guest.hidden_port)


class VchanServer:
    """A guest that offers the two vchans of its sound, as far as an opener looks at them."""

    def __init__(self, machine: LocalMachine, name: str) -> None:
        self.domid = machine.create(name)
        self.transport = machine.transport(name)
        self.store = machine.open_store(name)
        self.page = self.transport.share_pages(0, 1)
        self.ring = self.transport.share_pages(0, ring_pages(13))
        self.hidden = self.transport.share_pages(0, 1)
        self.state(11, 13)

    def state(self, left_order: int, right_order: int) -> None:
        """Write into the page which rings it has."""
        page = vchan_page(left_order, right_order, self.ring.refs)
        ctypes.memmove(self.page.address, page, len(page))

    def offer(self, port: int) -> EventChannel:
        channel = self.transport.allocate_channel(0)
        self.store.write(f"data/vchan/0/{port}/ring-ref", str(self.page.refs[0]))
        self.store.write(f"data/vchan/0/{port}/event-channel", str(channel.port))
        return channel

    def withdraw(self) -> None:
        self.store.remove("data/vchan/0")

    def may_map_alone(self, opener: RunningOpener, *allowed: Pages) -> None:
        """Of all that the guest shares, the opener maps these pages and no others."""
        for each in (self.page, self.ring, self.hidden):
            if each in allowed:
                opener.transport.map_pages(self.domid, each.refs, writable=True).close()
            else:
                with pytest.raises(RemoteProtocolError, match="no vchan of sound with these pages"):
                    opener.transport.map_pages(self.domid, each.refs, writable=True)


def test_agent_gets_at_once_what_the_opener_has_read_of_cards_meanwhile(
    machine: LocalMachine,
) -> None:
    guest = Frontend(machine, "player")
    path = DevicePath(0, guest.domid, 0)
    make_device(machine.open_store(), path)
    guest.publish()
    with RunningOpener(machine) as opener:
        nodes = eventually(lambda: opener.transport.recent_card_nodes(guest.domid, 0))
        assert nodes == read_card_nodes(machine.open_store(), path.frontend)
        assert nodes["0/0/ring-ref"] == str(guest.refs[0])
        assert opener.transport.recent_card_nodes(guest.domid, 1) is None
        assert opener.transport.recent_card_nodes(999, 0) is None


def test_nodes_of_a_large_card_are_not_kept(machine: LocalMachine) -> None:
    domid = machine.create("large")
    path = DevicePath(0, domid, 0)
    make_device(machine.open_store(), path)
    for node in ("long-name", *(f"{pcm}/name" for pcm in range(8))):
        machine.open_store("large").write(f"device/vsnd/0/{node}", "x" * 2000)
    with RunningOpener(machine) as opener:
        transport = opener.transport
        with pytest.raises(RemoteProtocolError, match="no card that it uses"):
            transport.map_pages(domid, [1], writable=False)  # which makes it read that card
        assert transport.recent_card_nodes(domid, 0) is None


def test_vchan_of_sound_that_a_guest_offers_is_reached_and_nothing_else_of_it(
    machine: LocalMachine, opener: RunningOpener
) -> None:
    guest = VchanServer(machine, "vchan")
    other_port = guest.offer(4715).port
    guest.may_map_alone(opener)
    with pytest.raises(RemoteProtocolError, match="offers no vchan of sound"):
        opener.transport.bind_lasting_channel(guest.domid, other_port)
    port = guest.offer(4713).port
    guest.may_map_alone(opener, guest.page, guest.ring)
    both = [*guest.ring.refs, *guest.hidden.refs]
    with pytest.raises(RemoteProtocolError, match="no vchan of sound with these pages"):
        opener.transport.map_pages(guest.domid, both, writable=True)
    opener.transport.bind_lasting_channel(guest.domid, port).close()


def test_card_of_a_guest_is_not_read_again_for_each_page_of_its_vchan(
    machine: LocalMachine, opener: RunningOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card has some thirty nodes, and the agent serves nobody meanwhile."""
    reads: list[int] = []
    read = Reach._read_published

    def note_read(reach: Reach, domid: int) -> Any:
        reads.append(domid)
        return read(reach, domid)

    monkeypatch.setattr(Reach, "_read_published", note_read)
    guest = VchanServer(machine, "sounding")
    guest.offer(4713)
    began = time.monotonic()
    for pages in (guest.page, guest.ring) * 10:
        opener.transport.map_pages(guest.domid, pages.refs, writable=True).close()
    assert reads.count(guest.domid) <= 1 + (time.monotonic() - began) // READ_SECONDS


def test_page_that_no_client_could_use_states_no_others(
    machine: LocalMachine, opener: RunningOpener
) -> None:
    guest = VchanServer(machine, "odd")
    guest.offer(4713)
    guest.state(11, 9)
    guest.may_map_alone(opener, guest.page)


def test_lasting_channel_is_that_of_the_next_agent_too_and_so_are_its_pages(
    machine: LocalMachine,
) -> None:
    guest = VchanServer(machine, "lasting")
    lasting = LastingChannels(lambda: LocalTransport(machine.directory))
    server = guest.offer(4713)
    with RunningOpener(machine, lasting=lasting) as opener:
        opener.transport.bind_lasting_channel(guest.domid, server.port).close()
    guest.withdraw()  # as a server does when its client has come
    with RunningOpener(machine, lasting=lasting) as opener:
        guest.may_map_alone(opener, guest.page, guest.ring)
        channel = opener.transport.bind_lasting_channel(guest.domid, server.port)
        server.clear()
        channel.notify()
        assert select.select([server.fds.wait_fd], [], [], 5)[0]
        channel.close()
        opener.transport.end_lasting_channel(guest.domid, server.port)
        guest.may_map_alone(opener)
        with pytest.raises(RemoteProtocolError, match="offers no vchan of sound"):
            opener.transport.bind_lasting_channel(guest.domid, server.port)
    lasting.close()


def test_opener_of_a_renewed_supervisor_has_the_lasting_channel_and_its_pages(
    machine: LocalMachine,
) -> None:
    guest = VchanServer(machine, "renewed")
    kept = LocalTransport(machine.directory)  # the opener before ends with its connection
    before = LastingChannels(lambda: kept)
    server = guest.offer(4713)
    with RunningOpener(machine, lasting=before) as opener:
        opener.transport.bind_lasting_channel(guest.domid, server.port).close()
    guest.withdraw()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # What openers of other versions could say comes first, and spoils nothing.
    for octets in (b"no JSON", b"[]", b'{"domid": 1, "port": 2, "layout": {}}'):
        socket.send_fds(ours, [octets], [ours.fileno()])
    giving = threading.Thread(target=before.hand_over, args=[ours])
    giving.start()
    after = LastingChannels(lambda: LocalTransport(machine.directory))
    with theirs:
        after.inherit(theirs)
    giving.join()
    ours.close()
    with RunningOpener(machine, lasting=after) as opener:
        guest.may_map_alone(opener, guest.page, guest.ring)
        channel = opener.transport.bind_lasting_channel(guest.domid, server.port)
        server.clear()
        channel.notify()
        assert select.select([server.fds.wait_fd], [], [], 5)[0]
        channel.close()
    after.close()
    kept.close()


def test_guest_has_few_lasting_channels_whatever_it_offers(
    machine: LocalMachine, opener: RunningOpener
) -> None:
    guest = VchanServer(machine, "greedy")
    for _ in range(OF_A_GUEST_MAX):
        opener.transport.bind_lasting_channel(guest.domid, guest.offer(4713).port).close()
    with pytest.raises(OSError, match="channels that last already"):
        opener.transport.bind_lasting_channel(guest.domid, guest.offer(4713).port)


def test_agent_publishes_no_rings_of_a_guest(machine: LocalMachine, store: Store) -> None:
    path = DevicePath(0, Frontend(machine, "quiet").domid, 0)
    make_device(store, path)
    with pytest.raises(PermissionError):
        store.write(f"{path.frontend}/0/0/ring-ref", "1")


@pytest.mark.parametrize(
    "request_",
    [
        b"{}",
        b"[]",
        b"no JSON",
        b"\xff",
        b'{"op": "format"}',
        b'{"op": "map", "domid": 1}',
        b'{"op": "map", "domid": 1, "refs": []}',
        b'{"op": "map", "domid": 1, "refs": "1"}',
        b'{"op": "map", "domid": 1, "refs": [' + b"1," * 200 + b"1]}",
        b'{"op": "map", "domid": -1, "refs": [1]}',
        b'{"op": "bind", "domid": 1, "port": 4294967296}',
        b'{"op": "bind", "domid": 1, "port": 1.5}',
        b'{"op": "end", "port": 4711}',
        b'{"op": ' + b"[" * 4000,
    ],
    ids=lambda request: request[:30].decode("latin-1"),
)
def test_request_that_is_none_is_refused_and_the_next_is_answered(
    machine: LocalMachine, request_: bytes
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        transport = machine.transport()
        opener = threading.Thread(
            target=Opener(theirs, lambda: transport, LastingChannels(machine.transport)).run
        )
        opener.start()
        ours.settimeout(5)
        ours.send(request_)
        assert "refused" in json.loads(ours.recv(1 << 16))
        ours.send(b'{"op": "hello"}')
        assert json.loads(ours.recv(1 << 16))["domid"] == 0
        ours.shutdown(socket.SHUT_RDWR)
        opener.join(5)
        assert not opener.is_alive()


def test_log_of_refusals_is_bounded(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(50):
        with pytest.raises(PermissionError):
            store.read("/tool")
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 10
    assert said[-1].endswith("; more is not shown")


def test_transactions_that_are_open_at_once_are_bounded(store: Store) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(TRANSACTIONS_MAX):
            stack.enter_context(store.transaction())
        with pytest.raises(OSError, match="No space") as caught:
            stack.enter_context(store.transaction())
        assert caught.value.errno == errno.ENOSPC
    with store.transaction():
        pass


def test_connections_at_once_are_bounded(opener: RunningOpener) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(contextlib.closing(opener.transport.open_store()))
        with pytest.raises(OSError, match="more than") as caught:
            opener.transport.open_store()
        assert caught.value.errno == errno.EMFILE


def raw_connection(opener: RunningOpener) -> socket.socket:
    result = socket.socket(fileno=opener.transport.connect_store().fd)
    result.settimeout(5)
    return result


def test_request_that_is_too_long_ends_the_connection(opener: RunningOpener) -> None:
    with raw_connection(opener) as connection:
        connection.sendall(_HEADER.pack(Op.READ, 1, 0, 4097))
        assert connection.recv(1) == b""


def test_transaction_of_others_is_not_there(machine: LocalMachine) -> None:
    with RunningOpener(machine, Anything) as opener, raw_connection(opener) as connection:
        connection.sendall(_HEADER.pack(Op.READ, 5, 77, 6) + b"/tool\0")
        assert connection.recv(100) == _HEADER.pack(Op.ERROR, 5, 77, 7) + b"ENOENT\0"


def test_requests_in_one_piece_and_octet_by_octet_are_answered_in_their_order(
    opener: RunningOpener,
) -> None:
    requests = b"".join(
        _HEADER.pack(Op.DIRECTORY, number, 0, len(path)) + path
        for number, path in enumerate((b"/local/domain\0", b"/tool\0", b"/local/domain\0"))
    )
    with raw_connection(opener) as connection:
        for pieces in ([requests], [bytes([octet]) for octet in requests]):
            for piece in pieces:
                connection.sendall(piece)
            for number, expected in enumerate((Op.DIRECTORY, Op.ERROR, Op.DIRECTORY)):
                op, request, _, octets = _HEADER.unpack(connection.recv(16, socket.MSG_WAITALL))
                assert (op, request) == (expected, number)
                connection.recv(octets, socket.MSG_WAITALL)


def test_client_that_reads_nothing_is_not_served_endlessly(opener: RunningOpener) -> None:
    """What it does not read does not pile up in the opener."""
    requests = (_HEADER.pack(Op.READ, 1, 0, 6) + b"/tool\0") * 1_000_000
    with raw_connection(opener) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.sendall(requests)
        with contextlib.closing(opener.transport.open_store()) as other:
            assert "0" in other.list("/local/domain")


def test_opener_ends_with_its_agent_and_so_do_its_connections(machine: LocalMachine) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with RunningOpener(machine) as opener:
        connection = raw_connection(opener)
    assert connection.recv(1) == b""
    connection.close()
    with pytest.raises(TransportLost):
        opener.transport.open_store()
    del opener
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the machine's own transport
