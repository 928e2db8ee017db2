"""A backend with nothing between it and whoever writes it: raw pages, raw nodes, and any rule may
be broken. It runs as domain 0 of a local machine, in place of xensnd-dom0.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from tests.support.raw_frontend import ANSWER_SECONDS, eventually, words
from tests.support.shared_pages import (
    DIRECTORY_REFS_OFFSET,
    IN_PROD_OFFSET,
    REQ_PROD_OFFSET,
    RING_HEADER_OCTETS,
    RING_SLOTS,
    RSP_PROD_OFFSET,
)
from xensnd.sndif.layout import buffer_pages
from xensnd.sndif.packets import (
    PACKET_OCTETS,
    HwParamQuery,
    Open,
    Request,
    Response,
    Status,
    decode_request,
    encode_response,
    operation_of,
)
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import (
    CardConfig,
    Direction,
    PcmConfig,
    StreamConfig,
    StreamRings,
    card_nodes,
    parse_rings,
)
from xensnd.transport.interface import EventChannel, Pages, Store, Transport

CARD = CardConfig(
    pcms=(PcmConfig(0, (StreamConfig(0, Direction.PLAYBACK), StreamConfig(1, Direction.CAPTURE))),)
)


@dataclass
class RawBackendStream:
    """The backend's end of a stream's two pages and two event channels."""

    ring_page: Pages
    event_page: Pages
    requests: EventChannel
    events: EventChannel
    taken: int = 0
    answered: int = 0

    def __post_init__(self) -> None:
        self.ring, self.event_words = words(self.ring_page), words(self.event_page)

    @property
    def has_request(self) -> bool:
        return self.ring[REQ_PROD_OFFSET // 4] != self.taken

    def await_request(self) -> tuple[int, Request]:
        """The next request and its id."""
        arrived = eventually(lambda: self.has_request, ANSWER_SECONDS)
        assert arrived, "the frontend asks nothing"
        slot = RING_HEADER_OCTETS + self.taken % RING_SLOTS * PACKET_OCTETS
        self.taken += 1
        return decode_request(bytes(self.ring.cast("B")[slot : slot + PACKET_OCTETS]))

    def answer(self, packet: bytes) -> None:
        slot = (RING_HEADER_OCTETS + self.answered % RING_SLOTS * PACKET_OCTETS) // 4
        self.ring[slot : slot + PACKET_OCTETS // 4] = memoryview(packet).cast("I")
        self.answered += 1
        self.set_response_index(self.answered)

    def set_response_index(self, index: int) -> None:
        self.ring[RSP_PROD_OFFSET // 4] = index
        self.requests.notify()

    def set_event_index(self, index: int) -> None:
        self.event_words[IN_PROD_OFFSET // 4] = index
        self.events.notify()

    def accept(self) -> Request:
        """Answers the next request with OK; of a query, all that it offers is allowed."""
        request_id, request = self.await_request()
        params = request.params if isinstance(request, HwParamQuery) else None
        response = Response(request_id, operation_of(request), Status.OK, params)
        self.answer(encode_response(response))
        return request


class RawBackend:
    def __init__(self, transport: Transport, store: Store, guest_domid: int) -> None:
        self.transport = transport
        self.store = store
        self.guest_domid = guest_domid
        self.backend = f"/local/domain/0/backend/vsnd/{guest_domid}/0"
        self.frontend = f"/local/domain/{guest_domid}/device/vsnd/0"
        self.streams: list[RawBackendStream] = []

    # XenStore

    def make_device(self) -> None:
        """As a toolstack does: at once, so that nobody sees half of it."""
        starting = str(int(XenbusState.INITIALISING))
        halves = {
            self.backend: ({"frontend": self.frontend, "state": starting}, [0, self.guest_domid]),
            self.frontend: (
                {"backend": self.backend, "backend-id": "0", "state": starting, **card_nodes(CARD)},
                [self.guest_domid, 0],
            ),
        }
        for attempt in self.store.transactions():
            with attempt as transaction:
                for directory, (nodes, (owner, reader)) in halves.items():
                    transaction.mkdir(directory)  # what is made below it has its permissions
                    transaction.set_permissions(directory, [f"n{owner}", f"r{reader}"])
                    transaction.write_each({f"{directory}/{name}": nodes[name] for name in nodes})

    def remove_device(self) -> None:
        for attempt in self.store.transactions():
            with attempt as transaction:
                transaction.remove(self.frontend)
                transaction.remove(self.backend)

    def enter(self, state: XenbusState) -> None:
        self.store.write(f"{self.backend}/state", str(int(state)))

    def frontend_state(self) -> XenbusState:
        return XenbusState(int(self.store.read(f"{self.frontend}/state")))

    def map_buffer(self, request: Open) -> Pages:
        """Of a stream that is opened with it, if its references fit into one directory page."""
        directory = self.transport.map_pages(
            self.guest_domid, [request.directory_ref], writable=False
        )
        start = DIRECTORY_REFS_OFFSET // 4
        with closing(directory), words(directory) as entries:
            refs = list(entries[start : start + buffer_pages(request.buffer_octets)])
        return self.transport.map_pages(self.guest_domid, refs, writable=False)

    def await_frontend(self, state: XenbusState) -> None:
        found = eventually(lambda: self.frontend_state() is state)
        assert found, f"the frontend is {self.frontend_state().name}, not {state.name}"

    # The handshake

    def offer(self) -> None:
        self.enter(XenbusState.INIT_WAIT)

    def finish_connecting(self) -> RawBackendStream:
        """Once the frontend has published its rings. Its playback stream."""
        self.await_frontend(XenbusState.INITIALISED)
        self.streams = [self._map(number) for number in range(2)]
        self.enter(XenbusState.CONNECTED)
        self.await_frontend(XenbusState.CONNECTED)
        return self.streams[0]

    def connect(self) -> RawBackendStream:
        self.offer()
        return self.finish_connecting()

    def let_go(self) -> None:
        """As a backend whose frontend closes, and which offers again."""
        for stream in self.streams:
            stream.requests.close()
            stream.events.close()
            stream.ring.release()
            stream.event_words.release()
            stream.ring_page.close()
            stream.event_page.close()
        self.streams = []
        self.offer()

    def _map(self, number: int) -> RawBackendStream:
        directory = f"{self.frontend}/0/{number}"
        nodes = {name: self.store.read(f"{directory}/{name}") for name in StreamRings.NODES}
        rings, domid = parse_rings(nodes), self.guest_domid
        return RawBackendStream(
            self.transport.map_pages(domid, [rings.ring_ref], writable=True),
            self.transport.map_pages(domid, [rings.evt_ring_ref], writable=True),
            self.transport.bind_channel(domid, rings.event_channel),
            self.transport.bind_channel(domid, rings.evt_event_channel),
        )
