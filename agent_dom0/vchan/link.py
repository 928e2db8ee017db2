"""Maps a guest's two vchans and binds their event channels, as the guest has offered them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack, closing

from agent_dom0.engines.interface import EngineLost, GuestEngine
from agent_dom0.vchan.saved_link import Offers, SavedLink
from xensnd.core import RingMemory, VchanCore
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.interface import EventChannel, Pages, Transport
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT, VchanOffer
from xensnd.vchan.page import Ring, parse_page

# PipeWire's module has 1 MiB and 68 KiB in its four rings.
RINGS_OCTETS_MAX = 1 << 21


class VchanLink:
    """The core's part of both vchans, with the pages and the event channels of the guest.

    RemoteProtocolError or OSError: it cannot be made; everything that was opened is closed again.
    """

    def __init__(
        self,
        transport: Transport,
        engine: GuestEngine,
        domid: int,
        offers: Offers,
        saved: SavedLink,
        served_address: int,
    ) -> None:
        self.offers = offers
        self.ring_octets: dict[int, int] = {}  # of the ring that carries sound, by port
        self.saved = saved
        self._mapped_octets = 0
        self._transport = transport
        self._engine = engine
        self._domid = domid
        self._served_address = served_address
        self._opened = ExitStack()
        try:
            self.playback = self._connect(PLAYBACK_PORT)
            self._opened.callback(self.playback.close)
            self.capture = self._connect(CAPTURE_PORT)
            self._opened.callback(self.capture.close)
        except EngineLost:
            self._opened.close()  # the next engine gets the same channels again
            raise
        except BaseException:
            self._opened.close()
            self.end_channels()
            raise

    def _connect(self, port: int) -> VchanCore:
        offer = self.offers[port]
        try:
            page = parse_page(self._copy_page(offer.ring_ref))
            mapped = self._map([offer.ring_ref], writable=True)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"vchan {port}: {error}") from error
        self._require_room(page.left.octets + page.right.octets)
        is_playback = port == PLAYBACK_PORT
        self.ring_octets[port] = (page.right if is_playback else page.left).octets
        return self._engine.new_vchan(
            playback=is_playback,
            page=mapped,
            left=self._ring(page.left, mapped, writable=True),
            right=self._ring(page.right, mapped, writable=False),
            channel=self._bind(offer),
            given=self.saved.given_place if is_playback else None,
            served_address=self._served_address,
        )

    def _copy_page(self, ref: int) -> bytes:
        with closing(self._transport.map_pages(self._domid, [ref], writable=False)) as page:
            return ctypes.string_at(page.address, PAGE_OCTETS)

    def _require_room(self, octets: int) -> None:
        self._mapped_octets += octets
        if self._mapped_octets > RINGS_OCTETS_MAX:
            raise RemoteProtocolError(
                f"vchan rings of {self._mapped_octets} octets in all, allowed {RINGS_OCTETS_MAX}"
            )

    def _ring(self, ring: Ring, page: Pages, *, writable: bool) -> RingMemory:
        if not ring.refs:
            return RingMemory(page.address + ring.offset, ring.octets)
        return RingMemory(self._map(ring.refs, writable=writable).address, ring.octets)

    def _map(self, refs: Sequence[int], *, writable: bool) -> Pages:
        pages = self._engine.map_pages(self._domid, refs, writable=writable)
        self._opened.callback(pages.close)
        return pages

    def _bind(self, offer: VchanOffer) -> EventChannel:
        channel = self._engine.bind_lasting_channel(self._domid, offer.event_channel)
        self._opened.callback(channel.close)
        return channel

    @property
    def is_open(self) -> bool:
        """Whether the guest's ends of both are there."""
        return self.playback.is_open and self.capture.is_open

    def begin(self, *, succeeds: bool) -> None:
        """Connect to the guest. `succeeds`: an earlier agent was its client before."""
        for core in (self.playback, self.capture):
            core.begin(succeeds=succeeds)

    def close(self) -> None:
        """Tell the guest that its client has gone. When it returns, the guest may free its
        pages."""
        self._opened.close()
        self.end_channels()

    def abandon(self) -> None:
        """Its engine has ended: leave the vchans as they are for the next one."""
        self._opened.close()

    def end_channels(self) -> None:
        for offer in self.offers.values():
            self._transport.end_lasting_channel(self._domid, offer.event_channel)
