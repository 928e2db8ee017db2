"""Maps a stream's pages and binds its event channels, as its frontend has published them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from agent_dom0.cards.saved_state import SavedState
from agent_dom0.engines.interface import GuestEngine
from xensnd.core import walk_directory
from xensnd.sndif.layout import buffer_pages
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import Direction, StreamRings
from xensnd.transport.interface import Pages, Transport


class StreamLink:
    """The core's part of a stream, with two pages and two event channels of the guest, and the
    saved state for the next agent.

    RemoteProtocolError or OSError: it cannot be made; everything that was opened is closed again.
    """

    def __init__(
        self,
        transport: Transport,
        engine: GuestEngine,
        domid: int,
        direction: Direction,
        rings: StreamRings,
        served_address: int,
        open_saved: Callable[[], SavedState],
    ) -> None:
        self.rings = rings
        self._transport = transport
        self._engine = engine
        self._domid = domid
        with ExitStack() as opened:
            ring = engine.map_pages(domid, [rings.ring_ref], writable=True)
            opened.callback(ring.close)
            event_page = engine.map_pages(domid, [rings.evt_ring_ref], writable=True)
            opened.callback(event_page.close)
            requests = engine.bind_channel(domid, rings.event_channel)
            opened.callback(requests.close)
            events = engine.bind_channel(domid, rings.evt_event_channel)
            opened.callback(events.close)
            self.saved = open_saved()
            opened.callback(self.saved.close)
            self.core = engine.new_stream(
                playback=direction is Direction.PLAYBACK,
                ring=ring,
                event_page=event_page,
                requests=requests,
                events=events,
                saved=self.saved,
                served_address=served_address,
            )
            self._opened = opened.pop_all()

    def map_buffer(self, request: Open) -> Pages:
        """Map the buffer that the guest shares at OPEN, through its page directory."""
        transport, domid = self._transport, self._domid

        @contextmanager
        def map_page(ref: int) -> Iterator[int]:
            page = transport.map_pages(domid, [ref], writable=False)
            try:
                yield page.address
            finally:
                page.close()

        count = buffer_pages(request.buffer_octets)
        refs = walk_directory(map_page, request.directory_ref, count)
        # Writable, for recorded samples and the answer to GET_VOLUME.
        return self._engine.map_pages(domid, refs, writable=True)

    def close(self, *, keep: bool) -> None:
        """Stop serving. `keep`: keep the saved state for the next agent."""
        self.core.close()
        if not keep:
            self.saved.remove()
        self._opened.close()
