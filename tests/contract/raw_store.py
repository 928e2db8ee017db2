"""Clients that speak XenStore's packets themselves, to compare two stores reply by reply."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.local_machine import LocalMachine
from tests.support.real_xenstored import GuestRing
from xensnd.localxen.store.wire import Op, Packet

WAIT_SECONDS = 5
_HEADER = struct.Struct("=IIII")
_FENCE = Packet(Op.GET_DOMAIN_PATH, b"0\0", request=0xFE4CE)


class Channel(Protocol):
    def send(self, octets: bytes) -> None: ...
    def receive(self, count: int) -> bytes: ...
    def close(self) -> None: ...


class SocketChannel:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(WAIT_SECONDS)
        self._socket.connect(str(path))

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def receive(self, count: int) -> bytes:
        result = b""
        while len(result) < count:
            more = self._socket.recv(count - len(result))
            if not more:
                raise ConnectionResetError("the store closed the connection")
            result += more
        return result

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Step:
    client: int
    op: int
    payload: bytes
    transaction: int = 0


class RawClient:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._requests = 0

    def send(self, op: int, payload: bytes, transaction: int = 0) -> None:
        self._requests += 1
        self.channel.send(bytes(Packet(op, payload, self._requests, transaction)))

    def receive(self) -> Packet:
        op, request, transaction, octets = _HEADER.unpack(self.channel.receive(_HEADER.size))
        payload = self.channel.receive(octets) if octets else b""
        return Packet(op, payload, request, transaction)

    def ask(self, op: int, payload: bytes, transaction: int = 0) -> Packet:
        """The reply alone."""
        self.send(op, payload, transaction)
        while (packet := self.receive()).op == Op.WATCH_EVENT:
            pass
        return packet

    def arrived(self) -> list[Packet]:
        """All that came up to now, in order: the store answers one after the other."""
        self.channel.send(bytes(_FENCE))
        packets: list[Packet] = []
        while (packet := self.receive()).request != _FENCE.request:
            packets.append(packet)
        return packets


class RawStore:
    """One store with two clients of domain 0, then one of each of two guests."""

    DOMAIN0, OTHER, FIRST_GUEST, SECOND_GUEST = range(4)
    GUESTS = ("first", "second")

    def __init__(self, machine: LocalMachine) -> None:
        self._machine = machine
        self.domids = [machine.transport().create_domain(name) for name in self.GUESTS]
        self._gone: set[int] = set()
        self._first = RawClient(SocketChannel(machine.store_socket))

    @contextlib.contextmanager
    def fresh(self) -> Iterator[list[RawClient]]:
        """The clients, with a store as after its start; both guests introduced."""
        for path in (b"/local", b"/tool", b"/vm", b"/libxl", b"/a", b"/b"):
            self._first.ask(Op.RM, path + b"\0")
        for special in (b"@introduceDomain", b"@releaseDomain"):
            self._first.ask(Op.SET_PERMS, special + b"\0n0\0")
        self._first.ask(Op.SET_PERMS, b"/\0n0\0")
        for domid in self.domids:
            self._first.ask(Op.RELEASE, b"%d\0" % domid)
            reply = self._first.ask(Op.INTRODUCE, b"%d\0001\0001\0" % domid)
            assert reply.payload == b"OK\0"
        self._gone.clear()
        with contextlib.ExitStack() as stack:
            clients = [RawClient(SocketChannel(self._machine.store_socket)) for _ in range(2)]
            clients += [RawClient(self.guest_channel(domid)) for domid in self.domids]
            for client in clients:
                stack.callback(client.channel.close)
            yield clients

    def run(self, steps: Sequence[Step]) -> list[list[list[Packet]]]:
        """For each step, what each client got by its end."""
        with self.fresh() as clients:
            return [self._step(clients, step) for step in steps]

    def close(self) -> None:
        self._first.channel.close()

    def _step(self, clients: Sequence[RawClient], step: Step) -> list[list[Packet]]:
        """A guest that is released gets nothing any more, and is not asked."""
        clients[step.client].send(step.op, step.payload, step.transaction)
        if step.op == Op.RELEASE:
            self._gone |= {domid for domid in self.domids if step.payload == b"%d\0" % domid}
        gone = {self.FIRST_GUEST + self.domids.index(domid) for domid in self._gone}
        # First the client that asked: when it has its answer, the others have their events.
        order = sorted({*range(len(clients))} - gone, key=lambda number: number != step.client)
        arrived = {number: clients[number].arrived() for number in order}
        return [arrived.get(number, []) for number in range(len(clients))]

    def guest_channel(self, domid: int) -> Channel:
        if self._machine.xenstored:
            return GuestRing(self._machine.xenstored, domid)
        return SocketChannel(self._machine.directory / f"dom{domid}" / "xenstore")
