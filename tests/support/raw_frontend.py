"""A frontend with nothing between it and whoever writes it: raw pages, raw nodes, and any rule may
be broken. On any transport, so also in a guest of the lab.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.support.shared_pages import (
    DIRECTORY_REFS_OFFSET,
    EVENT_HEADER_OCTETS,
    EVENT_SLOTS,
    IN_PROD_OFFSET,
    REQ_EVENT_OFFSET,
    REQ_PROD_OFFSET,
    RING_HEADER_OCTETS,
    RING_SLOTS,
    RSP_EVENT_OFFSET,
    RSP_PROD_OFFSET,
)
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.sndif.packets import (
    PACKET_OCTETS,
    Open,
    Request,
    Response,
    decode_event,
    decode_response,
    encode_request,
)
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import StreamRings
from xensnd.transport.interface import Pages, Store, Transport

ANSWER_SECONDS = 10
LOOK_MIN_SECONDS, LOOK_MAX_SECONDS = 0.01, 0.05
BUFFER_OCTETS = 65536


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """The condition's value once it holds, or the last one that did not. To look costs time that
    others need: the longer it takes, the less often this looks."""
    began = time.monotonic()
    while not (value := condition()) and (passed := time.monotonic() - began) < seconds:
        time.sleep(min(max(LOOK_MIN_SECONDS, passed / 20), LOOK_MAX_SECONDS))
    return value


def words(pages: Pages) -> memoryview:
    octets = (ctypes.c_uint8 * pages.octets).from_address(pages.address)
    return memoryview(octets).cast("B").cast("I")


class RawStream:
    """A stream's two pages and two event channels, with nothing between them and the test."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.ring_page = transport.share_pages(0, 1)
        self.event_page = transport.share_pages(0, 1)
        self.requests = transport.allocate_channel(0)
        self.events = transport.allocate_channel(0)
        self.ring, self.event_words = words(self.ring_page), words(self.event_page)
        self.ring[REQ_EVENT_OFFSET // 4] = self.ring[RSP_EVENT_OFFSET // 4] = 1
        self.rings = StreamRings(
            self.ring_page.refs[0], self.requests.port, self.event_page.refs[0], self.events.port
        )
        self.sent = 0
        self._buffer: list[Pages] = []  # and its directory

    def close(self) -> None:
        """Take all back that was shared."""
        self.requests.close()
        self.events.close()
        for pages in (self.ring_page, self.event_page, *self._buffer):
            pages.close()

    def put(self, packet: bytes) -> None:
        """Into the ring, without a word to anyone."""
        slot = (RING_HEADER_OCTETS + self.sent % RING_SLOTS * PACKET_OCTETS) // 4
        self.ring[slot : slot + PACKET_OCTETS // 4] = memoryview(packet).cast("I")
        self.sent += 1
        self.ring[REQ_PROD_OFFSET // 4] = self.sent

    def answers(self, count: int) -> list[Response]:
        """The latest of them, once all requests have one."""
        assert eventually(lambda: self.ring[RSP_PROD_OFFSET // 4] == self.sent, ANSWER_SECONDS)
        octets = self.ring.cast("B")
        result = []
        for number in range(self.sent - count, self.sent):
            slot = RING_HEADER_OCTETS + number % RING_SLOTS * PACKET_OCTETS
            result.append(decode_response(bytes(octets[slot : slot + PACKET_OCTETS])))
        return result

    def send(self, *packets: bytes) -> list[int]:
        """The status of each answer."""
        for packet in packets:
            self.put(packet)
        self.requests.notify()
        return [answer.status for answer in self.answers(len(packets))]

    def next_position(self, seconds: float = 10) -> int:
        """In octets: what the backend tells next, or the last of it if that is more."""
        assert select.select([self.events.fds.wait_fd], [], [], seconds)[0]
        os.eventfd_read(self.events.fds.wait_fd)
        last = self.event_words[IN_PROD_OFFSET // 4] - 1
        at = EVENT_HEADER_OCTETS + last % EVENT_SLOTS * PACKET_OCTETS
        octets = self.event_words.cast("B")
        return decode_event(bytes(octets[at : at + PACKET_OCTETS]))[1].position_octets

    def ask(self, request: Request) -> int:
        return self.send(encode_request(self.sent & 0xFFFF, request))[0]

    def good_open(self, buffer_octets: int = BUFFER_OCTETS) -> Open:
        """An OPEN that is as it should be."""
        count = buffer_octets // PAGE_OCTETS
        self.buffer = self._transport.share_pages(0, count)
        self.directory = self._transport.share_pages(0, 1)
        self._buffer += [self.buffer, self.directory]
        start = DIRECTORY_REFS_OFFSET // 4
        for number, ref in enumerate(self.buffer.refs):
            words(self.directory)[start + number] = ref
        return Open(
            rate_hz=48000,
            sample_format=SampleFormat.S16_LE,
            channels=2,
            buffer_octets=buffer_octets,
            period_octets=buffer_octets // 4,
            directory_ref=self.directory.refs[0],
        )


class RawFrontend:
    """`backend` is its backend's directory, from which it learns that one's state."""

    def __init__(self, transport: Transport, store: Store, backend: str) -> None:
        self.transport = transport
        self.store = store
        self.backend = backend
        self.streams: list[RawStream] = []

    # XenStore

    def read(self, path: str) -> str:
        """Below its device's directory."""
        return self.store.read(f"device/vsnd/0/{path}")

    def write(self, nodes: dict[str, str]) -> None:
        for path, value in nodes.items():
            self.store.write(f"device/vsnd/0/{path}", value)

    def enter(self, state: XenbusState) -> None:
        self.write({"state": str(int(state))})

    def backend_state(self) -> XenbusState:
        with suppress(KeyError):
            return XenbusState(int(self.store.read(f"{self.backend}/state")))
        return XenbusState.UNKNOWN

    def await_backend(self, state: XenbusState) -> None:
        found = eventually(lambda: self.backend_state() is state)
        assert found, f"the backend is {self.backend_state().name}, not {state.name}"

    # The handshake

    def begin_afresh(self) -> None:
        """As it should, after whatever was before."""
        if self.backend_state() is XenbusState.CONNECTED:
            self.enter(XenbusState.CLOSING)
            assert eventually(lambda: self.backend_state() is not XenbusState.CONNECTED)
        if self.backend_state() is XenbusState.CLOSED:
            self.enter(XenbusState.CLOSED)
        self.await_backend(XenbusState.INIT_WAIT)
        self.enter(XenbusState.INITIALISING)

    def offer_rings(self) -> None:
        """Up to where the backend is to map and bind what was published."""
        self.begin_afresh()
        self.streams = [RawStream(self.transport), RawStream(self.transport)]
        for number, stream in enumerate(self.streams):
            self.write({f"0/{number}/{name}": text for name, text in stream.rings.nodes().items()})

    def finish_connecting(self) -> RawStream:
        """Its playback stream."""
        self.enter(XenbusState.INITIALISED)
        self.await_backend(XenbusState.CONNECTED)
        self.enter(XenbusState.CONNECTED)
        return self.streams[0]

    def connect(self) -> RawStream:
        self.offer_rings()
        return self.finish_connecting()

    def tries_to_connect(self) -> bool:
        """As it should. False: the backend has closed instead."""
        self.offer_rings()
        self.enter(XenbusState.INITIALISED)
        ends = {XenbusState.CONNECTED, XenbusState.CLOSED}
        assert eventually(lambda: self.backend_state() in ends), "the backend does nothing"
        if self.backend_state() is XenbusState.CLOSED:
            return False
        self.enter(XenbusState.CONNECTED)
        return True

    def forget_streams(self) -> None:
        """As a driver that ends: what was shared is shared no more."""
        for stream in self.streams:
            stream.close()
        self.streams = []
