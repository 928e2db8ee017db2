"""A stream's pages and event channels: mapped and bound as its frontend offers them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xensnd.core import walk_directory
from xensnd.sndif.layout import buffer_pages
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import StreamRings
from xensnd.transport.interface import EventChannel, Pages, Transport


@dataclass(frozen=True, slots=True)
class Connection:
    """A stream's two pages and two event channels, mapped and bound."""

    ring: Pages
    event_page: Pages
    requests: EventChannel
    events: EventChannel

    def close(self) -> None:
        self.requests.close()
        self.events.close()
        self.ring.close()
        self.event_page.close()


def connect(transport: Transport, domid: int, rings: StreamRings) -> Connection:
    """All four, or RemoteProtocolError and none."""
    opened: list[Pages | EventChannel] = []
    try:
        ring = transport.map_pages(domid, [rings.ring_ref], writable=True)
        opened.append(ring)
        event_page = transport.map_pages(domid, [rings.evt_ring_ref], writable=True)
        opened.append(event_page)
        requests = transport.bind_channel(domid, rings.event_channel)
        opened.append(requests)
        events = transport.bind_channel(domid, rings.evt_event_channel)
    except BaseException:
        for each in opened:
            each.close()
        raise
    return Connection(ring, event_page, requests, events)


def map_buffer(transport: Transport, domid: int, request: Open) -> Pages:
    """What the guest shares at OPEN, found through its page directory."""

    @contextmanager
    def map_page(ref: int) -> Iterator[int]:
        page = transport.map_pages(domid, [ref], writable=False)
        try:
            yield page.address
        finally:
            page.close()

    count = buffer_pages(request.buffer_octets)
    refs = walk_directory(map_page, request.directory_ref, count)
    # Written by us: what is recorded, and the answer to GET_VOLUME.
    return transport.map_pages(domid, refs, writable=True)
