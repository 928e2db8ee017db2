"""The guest's end of one vchan, as the server in Xen's libxenvchan has it."""

from __future__ import annotations

import ctypes
import select
import struct

from tests.support.vchan_page import ring_pages, vchan_page
from xensnd.transport.interface import EventChannel, Pages, Store, Transport
from xensnd.vchan.nodes import VchanNodes

LEFT_CONS, LEFT_PROD, RIGHT_CONS, RIGHT_PROD = 0, 4, 8, 12
CLI_LIVE, SRV_LIVE, CLI_NOTIFY, SRV_NOTIFY = 20, 21, 22, 23
WRITTEN, READ = 1, 2
IN_PAGE = {10: 1024, 11: 2048}


class VchanServer:
    """Offers a vchan to domain `client`. The left ring carries what the client writes."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        port: int,
        left_order: int,
        right_order: int,
        client: int = 0,
    ) -> None:
        self.nodes = VchanNodes(transport.domid, client, port)
        self._store = store
        self._is_closed = False
        self._shared: list[Pages] = []
        self.channel: EventChannel = transport.allocate_channel(client)
        self._page = self._share(transport, 1)
        left, left_refs = self._ring(transport, left_order)
        right, right_refs = self._ring(transport, right_order)
        self.left, self.left_octets = left, 1 << left_order
        self.right, self.right_octets = right, 1 << right_order
        octets = vchan_page(left_order, right_order, [*left_refs, *right_refs])
        kept = 24 + 4 * (len(left_refs) + len(right_refs))
        ctypes.memmove(self._page.address, octets, kept)

    def _share(self, transport: Transport, count: int) -> Pages:
        self._shared.append(transport.share_pages(self.nodes.client, count))
        return self._shared[-1]

    def _ring(self, transport: Transport, order: int) -> tuple[int, list[int]]:
        if order in IN_PAGE:
            return self._page.address + IN_PAGE[order], []
        pages = self._share(transport, ring_pages(order))
        return pages.address, list(pages.refs)

    def offer(self) -> None:
        """Write the nodes, which only the client may read."""
        permissions = [f"n{self.nodes.guest}", f"r{self.nodes.client}"]
        values = {
            self.nodes.ring_ref: self._page.refs[0],
            self.nodes.event_channel: self.channel.port,
        }
        for attempt in self._store.transactions():
            with attempt as transaction:
                for path, value in values.items():
                    transaction.write(path, str(value))
                    transaction.set_permissions(path, permissions)

    def withdraw(self) -> None:
        """Remove the nodes, as a server does when its client has come, and when it closes."""
        self._store.remove(self.nodes.directory)

    # The page

    @property
    def page_ref(self) -> int:
        return self._page.refs[0]

    @property
    def page_address(self) -> int:
        return self._page.address

    def write_page(self, at: int, octets: bytes) -> None:
        """Write anything into it."""
        ctypes.memmove(self._page.address + at, octets, len(octets))

    def index(self, at: int) -> int:
        return int(struct.unpack("<I", ctypes.string_at(self._page.address + at, 4))[0])

    def set_index(self, at: int, value: int) -> None:
        ctypes.memmove(self._page.address + at, struct.pack("<I", value % 2**32), 4)

    def octet(self, at: int) -> int:
        return ctypes.string_at(self._page.address + at, 1)[0]

    def set_octet(self, at: int, value: int) -> None:
        ctypes.memmove(self._page.address + at, bytes([value]), 1)

    @property
    def has_client(self) -> bool:
        return self.octet(CLI_LIVE) == 1

    @property
    def is_open(self) -> bool:
        """Whether the client has not gone; at first, it has not come."""
        return self.octet(CLI_LIVE) != 0

    # Reading and writing

    def ask(self, event: int) -> None:
        self.set_octet(CLI_NOTIFY, self.octet(CLI_NOTIFY) | event)

    def _tell(self, event: int) -> None:
        wishes = self.octet(SRV_NOTIFY)
        if wishes & event:
            self.set_octet(SRV_NOTIFY, wishes & ~event)
            self.channel.notify()

    def readable(self) -> int:
        self.ask(WRITTEN)
        return self.index(LEFT_PROD) - self.index(LEFT_CONS) & 0xFFFFFFFF

    def space(self) -> int:
        self.ask(READ)
        return self.right_octets - (self.index(RIGHT_PROD) - self.index(RIGHT_CONS) & 0xFFFFFFFF)

    def read(self, most: int = 1 << 20) -> bytes:
        """Return what the client has written, up to so many octets."""
        count, start = min(self.readable(), most), self.index(LEFT_CONS)
        offset = start % self.left_octets
        first = min(count, self.left_octets - offset)
        octets = ctypes.string_at(self.left + offset, first)
        octets += ctypes.string_at(self.left, count - first)
        self.set_index(LEFT_CONS, start + count)
        self._tell(READ)
        return octets

    def write(self, octets: bytes) -> int:
        """Write as much as there is room for. Return how much that was."""
        count, start = min(self.space(), len(octets)), self.index(RIGHT_PROD)
        offset = start % self.right_octets
        first = min(count, self.right_octets - offset)
        ctypes.memmove(self.right + offset, octets[:first], first)
        ctypes.memmove(self.right, octets[first:count], count - first)
        self.set_index(RIGHT_PROD, start + count)
        self._tell(WRITTEN)
        return count

    def await_event(self, seconds: float) -> None:
        if select.select([self.channel.fds.wait_fd], [], [], seconds)[0]:
            self.channel.clear()

    def close(self) -> None:
        """Close it, unless it is closed. The nodes go last, as with libxenvchan."""
        if not self._is_closed:
            self.unshare()
            self.withdraw()

    def unshare(self) -> None:
        """Close its end, and leave the nodes."""
        self._is_closed = True
        self.set_octet(SRV_LIVE, 0)
        self.channel.notify()
        for pages in self._shared:
            pages.close()
        self.channel.close()
