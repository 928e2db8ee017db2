"""`xensnd-localxen` itself: its commands, and clients that mean harm."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyxs import Client

from tests.contract.raw_store import RawClient, SocketChannel
from tests.support.local_machine import LocalMachine
from xensnd.errors import TransportLost
from xensnd.localxen.store.wire import Op, Packet
from xensnd.transport.local.protocol import REQUEST_OCTETS_MAX
from xensnd.transport.xenstore import XenStore


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path) as machine:
        yield machine


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xensnd.localxen.cli", str(directory), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def complaint(directory: Path, *arguments: str) -> str:
    """The one line that a refused command says."""
    result = run(directory, *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    return result.stderr.removeprefix("xensnd-localxen: ").rstrip()


def test_domains_are_created_listed_and_destroyed(machine: LocalMachine) -> None:
    uuid = "8e1f7c5e-1111-2222-3333-444455556666"
    assert run(machine.directory, "create", "work", "--uuid", uuid).stdout == "1\n"
    assert run(machine.directory, "create", "mail").stdout == "2\n"
    assert run(machine.directory, "destroy", "work").returncode == 0
    assert run(machine.directory, "create", "work").stdout == "3\n"
    listed = run(machine.directory, "list").stdout
    assert listed.split() == ["0", "Domain-0", "2", "mail", "3", "work"]


def test_mistakes_are_told_with_what_to_do(machine: LocalMachine, tmp_path: Path) -> None:
    machine.create("work")
    assert complaint(machine.directory, "destroy", "wrok") == (
        "no domain 'wrok'; known are: work (create one with: xensnd-localxen DIR create NAME)"
    )
    assert complaint(machine.directory, "create", "work") == "a domain 'work' exists already"
    assert "without a slash" in complaint(machine.directory, "create", "a/b")
    assert "already served" in complaint(machine.directory, "serve")
    assert "too long for a socket" in complaint(tmp_path / ("x" * 100), "serve")


def test_nothing_that_serves_is_told_on_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "create", "work")
    assert result.returncode == 1
    assert f"start it with: xensnd-localxen {tmp_path} serve" in result.stderr
    assert result.stderr.count("\n") == 1


def test_sigterm_ends_it_with_success_and_without_sockets(machine: LocalMachine) -> None:
    machine.create("work")
    store = machine.open_store("work")
    assert machine.stop() == 0
    assert [path for path in machine.directory.rglob("*") if path.is_socket()] == []
    store.close()


def test_directory_is_served_again_after_a_crash(machine: LocalMachine) -> None:
    machine.kill()
    machine.start()
    assert machine.create("work") == 1


def test_guest_has_the_rights_of_its_domain(machine: LocalMachine) -> None:
    machine.create("work")
    store = machine.open_store("work")
    assert store.read("name") == "work"
    store.write("data/mine", "1")
    for refused in ("name", "/local/domain/0/x", "device/vsnd"):
        with pytest.raises(PermissionError, match=refused):
            store.write(refused, "1")


def test_plain_pyxs_is_served(machine: LocalMachine) -> None:
    with Client(unix_socket_path=str(machine.store_socket)) as client:
        client[b"/a/b"] = b"1"
        assert (client[b"/a/b"], client.list(b"/a")) == (b"1", [b"b"])
        client.transaction()
        client.write(b"/a/c", b"2")
        assert client.commit()
        monitor = client.monitor()
        monitor.watch(b"/a", b"token")
        assert next(monitor.wait()) == (b"/a", b"token")


def test_xens_own_tools_are_served(machine: LocalMachine) -> None:
    machine.create("work")
    shown = subprocess.run(
        ["xenstore-ls", "-fp", "/local/domain/1/data"],
        env=os.environ | {"XENSTORED_PATH": str(machine.store_socket)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == ""
    read = subprocess.run(
        ["xenstore-read", "name"],
        env=os.environ | {"XENSTORED_PATH": str(machine.directory / "dom1" / "xenstore")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout == "work\n"


# A guest that means harm loses its own connection, and nobody else notices.


@pytest.fixture
def hostile(machine: LocalMachine) -> Iterator[RawClient]:
    machine.create("work")
    client = RawClient(SocketChannel(machine.directory / "dom1" / "xenstore"))
    yield client
    client.channel.close()


def test_store_drops_a_client_that_promises_too_much(
    machine: LocalMachine, hostile: RawClient
) -> None:
    hostile.channel.send(bytes.fromhex("02000000 00000000 00000000 01100000"))
    with pytest.raises(ConnectionResetError):
        hostile.receive()
    assert machine.open_store("work").read("name") == "work"


@pytest.mark.parametrize("op", [*range(24), 128, 0xFFFF_FFFF])
def test_store_survives_every_operation_with_nonsense(
    machine: LocalMachine, hostile: RawClient, op: int
) -> None:
    for payload in (
        b"",
        b"\0",
        b"\0\0\0",
        b"x",
        b"\xff" * 4096,
        b"/\0" * 2048,
        b"9" * 4095 + b"\0",
    ):
        for transaction in (0, 1, 0xFFFF_FFFF):
            hostile.ask(op, payload, transaction)
    assert machine.open_store("work").read("name") == "work"


def test_store_serves_others_while_one_floods_and_takes_no_replies(
    machine: LocalMachine, hostile: RawClient
) -> None:
    hostile.channel._socket.setblocking(False)  # type: ignore[attr-defined]
    flood = bytes(Packet(Op.DIRECTORY, b"device\0")) * 1000
    store = machine.open_store()
    until(BlockingIOError, lambda: hostile.channel.send(flood))
    for number in range(100):
        store.write("/a", str(number))
    assert store.read("/a") == "99"


def test_store_drops_who_watches_and_never_reads(machine: LocalMachine, hostile: RawClient) -> None:
    hostile.ask(Op.WATCH, b"data\0" + b"t" * 4000 + b"\0")
    store = machine.open_store()
    for number in range(1500):
        store.write("/local/domain/1/data", str(number))
    hostile.channel._socket.settimeout(5)  # type: ignore[attr-defined]
    until(ConnectionResetError, hostile.receive)


@pytest.mark.parametrize(
    "request_",
    [
        b"x",
        b"{}",
        b"[" * 10000,
        b'{"op": "share"}',
        b'{"op": ["hello"]}',
        b'{"op": "hello", "version": [[[[]]]]}',
        b'{"op": "hello", "version": 1, "domain": {"a": 1}}',
        b'{"op": "hello", "version": 1, "domain": "\\ud800"}',
        b'{"op": "' + b"x" * 10000 + b'"}',
    ],
)
def test_hypervisor_refuses_nonsense_before_hello(machine: LocalMachine, request_: bytes) -> None:
    assert "refused" in ask_hypervisor(machine, request_)


@pytest.mark.parametrize(
    "request_",
    [
        b'{"op": "hello", "version": 1}',
        b'{"op": "create", "name": "more"}',
        b'{"op": "destroy", "name": "work"}',
        b'{"op": "domains"}',
        b'{"op": "share", "peer": 0, "count": 0}',
        b'{"op": "share", "peer": 0, "count": 4294967295}',
        b'{"op": "share", "peer": -1, "count": 1}',
        b'{"op": "share", "peer": true, "count": 1}',
        b'{"op": "share", "peer": 1e99, "count": 1}',
        b'{"op": "share", "peer": 0, "count": ' + b"9" * 5000 + b"}",
        b'{"op": "map", "peer": 0, "refs": 1}',
        b'{"op": "map", "peer": 0, "refs": ["a"]}',
        b'{"op": "map", "peer": 0, "refs": [' + b"1," * 2000 + b"1]}",
        b'{"op": "map", "peer": 9, "refs": [1]}',
        b'{"op": "bind", "peer": 0, "port": 1}',
        b'{"op": "end_share", "first_ref": 8}',
        b'{"op": "end_channel", "port": 1}',
    ],
)
def test_hypervisor_refuses_what_a_guest_may_not(machine: LocalMachine, request_: bytes) -> None:
    machine.create("work")
    machine.transport().share_pages(1, 1)
    hello = b'{"op": "hello", "version": 1, "domain": "work"}'
    assert "refused" in ask_hypervisor(machine, hello, request_)


def test_hypervisor_bounds_what_one_domain_shares(machine: LocalMachine) -> None:
    machine.create("work")
    work = machine.transport("work")
    kept = [work.share_pages(0, 10000) for _ in range(3)]
    with pytest.raises(OSError, match="more than 32768 pages"):
        work.share_pages(0, 10000)
    for pages in kept:
        pages.close()
    work.share_pages(0, 10000).close()


def test_hypervisor_bounds_the_channels_of_one_domain(machine: LocalMachine) -> None:
    machine.create("work")
    work = machine.transport("work")
    kept = [work.allocate_channel(0) for _ in range(512)]
    with pytest.raises(OSError, match="512 event channels"):
        work.allocate_channel(0)
    for channel in kept:
        channel.close()
    machine.transport().allocate_channel(1).close()


def test_hypervisor_drops_a_request_that_is_too_long(machine: LocalMachine) -> None:
    with connected(machine) as client:
        client.send(b"x" * (REQUEST_OCTETS_MAX + 1))
        assert client.recv(100) == b""
    assert machine.create("work") == 1


def test_hypervisor_takes_no_descriptors(machine: LocalMachine) -> None:
    with connected(machine) as client:
        socket.send_fds(client, [b'{"op": "hello", "version": 1}'], [0] * 200)
        assert json.loads(client.recv(1000))["domid"] == 0
        assert machine.create("work") == 1


def until(error: type[Exception], again: Callable[[], object]) -> None:
    with contextlib.suppress(error):
        while True:
            again()


def ask_hypervisor(machine: LocalMachine, *requests: bytes) -> dict[str, object]:
    """The reply to the last one; and the machine works on."""
    with connected(machine) as client:
        for request in requests:
            client.send(request)
            reply: dict[str, object] = json.loads(client.recv(100_000))
    assert "Domain-0" in machine.transport().domains()
    return reply


def connected(machine: LocalMachine) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(5)
    client.connect(str(machine.directory / "hypervisor"))
    return client


# The kernel's device, played by a socket: the same octets, another way to open it.


def test_xenbus_is_spoken_to_as_a_socket_is(
    machine: LocalMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_device(path: str, flags: int) -> int:
        opened.append((path, flags & os.O_ACCMODE))
        with socket.socket(socket.AF_UNIX) as connecting:
            connecting.connect(str(machine.store_socket))
            return connecting.detach()

    with monkeypatch.context() as patched:
        patched.setattr("xensnd.transport.xenstore.os.open", open_device)
        store = XenStore.over_xenbus("/dev/xen/xenbus")
    assert opened == [("/dev/xen/xenbus", os.O_RDWR)]
    store.write("/a", "1")
    store.watch("/a", "token")
    assert [event.path for event in store.events()] in (["/a"], [])
    store.close()


def test_xenbus_that_is_not_there_is_lost(tmp_path: Path) -> None:
    with pytest.raises(TransportLost, match="No such file"):
        XenStore.over_xenbus(tmp_path / "xenbus")


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """No more of them than this can be opened."""
    highest = max(int(each) for each in os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    holes = [os.dup(0)]
    while holes[-1] < highest:
        holes.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(holes) + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in holes:
            os.close(fd)


@pytest.mark.parametrize("count", [0, 1])
def test_what_comes_without_room_for_its_descriptors_is_given_back(
    machine: LocalMachine, count: int
) -> None:
    domid = machine.create("work")
    guest, dom0 = machine.transport("work"), machine.transport()
    pages, channel = guest.share_pages(0, 1), guest.allocate_channel(0)
    with descriptors_left(count):
        with pytest.raises(OSError, match="Too many open files"):
            dom0.bind_channel(domid, channel.port)
        if count == 0:
            with pytest.raises(OSError, match="Too many open files"):
                dom0.map_pages(domid, pages.refs, writable=True)
        with pytest.raises(OSError, match="Too many open files"):
            guest.allocate_channel(0)
    dom0.map_pages(domid, pages.refs, writable=True).close()
    dom0.bind_channel(domid, channel.port).close()
