"""A guest's process that offers vchans of sound against the rules, as it is told over peer.py."""

from __future__ import annotations

import ctypes
import struct

from tests.support.peer import serve
from tests.support.raw_frontend import eventually
from tests.support.vchan_server import VchanServer
from xensnd.transport.xen import XenTransport
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT, PORTS

ORDERS_AT, REFS_AT = 16, 24
ORDERS = {PLAYBACK_PORT: (11, 13), CAPTURE_PORT: (13, 11)}


class EvilVchan:
    """Each offer takes the place of the one before."""

    def __init__(self) -> None:
        self._transport = XenTransport()
        self._store = self._transport.open_store()
        self._servers: dict[int, VchanServer] = {}

    def prepare(self) -> None:
        """Make both as they should be, and offer nothing yet."""
        for server in self._servers.values():
            server.close()
        self._servers = {
            port: VchanServer(self._transport, self._store, port, *ORDERS[port]) for port in PORTS
        }

    def state_orders(self, port: int, left: int, right: int) -> None:
        """In the page of this port."""
        self._write(port, ORDERS_AT, struct.pack("<2H", left, right))

    def state_pages(self, port: int, *refs: int) -> None:
        self._write(port, REFS_AT, struct.pack(f"<{len(refs)}I", *refs))

    def set_index(self, port: int, at: int, beyond: int) -> None:
        """The one at this octet of the page, and tell the client."""
        server = self._servers[port]
        server.set_index(at, server.index(at) + beyond)
        server.channel.notify()

    def offer(self, nodes: dict[str, str] | None = None) -> None:
        """Offer what was prepared. `nodes` of port 4713, by their names, hold something else."""
        self._servers[CAPTURE_PORT].offer()
        server = self._servers[PLAYBACK_PORT]
        values = {"ring-ref": str(server.page_ref), "event-channel": str(server.channel.port)}
        permissions = [f"n{server.nodes.guest}", f"r{server.nodes.client}"]
        for attempt in self._store.transactions():
            with attempt as transaction:
                for name, value in (values | (nodes or {})).items():
                    path = f"{server.nodes.directory}/{name}"
                    transaction.write(path, value)
                    transaction.set_permissions(path, permissions)

    def has_client(self) -> bool:
        return bool(
            eventually(lambda: all(server.has_client for server in self._servers.values()), 20)
        )

    def _write(self, port: int, at: int, octets: bytes) -> None:
        ctypes.memmove(self._servers[port].page_address + at, octets, len(octets))


if __name__ == "__main__":
    serve(EvilVchan())
