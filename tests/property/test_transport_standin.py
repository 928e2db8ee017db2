"""Whatever a client sends, the stand-ins answer it and go on."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from xensnd.localxen.hypervisor import Hypervisor
from xensnd.localxen.store.standin import StandInStore
from xensnd.localxen.store.tree import is_below, name_of, parent_of
from xensnd.localxen.store.wire import PAYLOAD_MAX, MalformedPacket, Op, Packet, PacketBuffer

PACKETS = st.builds(
    Packet,
    st.one_of(st.sampled_from(list(Op)), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=PAYLOAD_MAX),
        st.lists(
            st.sampled_from([b"/", b"/a", b"data", b"n0", b"r1", b"T", b"1", b"@x", b"\xff"]),
            max_size=4,
        ).map(lambda strings: b"".join(string + b"\0" for string in strings)),
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0, 1, 2, 2**32 - 1]),
)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), PACKETS)))
def test_store_answers_each_request_once(requests: list[tuple[int, Packet]]) -> None:
    store = StandInStore(lambda domid: domid < 3)
    sent: list[Packet] = []
    clients = [store.connect(0, sent.append)]
    store.handle(clients[0], Packet(Op.INTRODUCE, b"1\0001\0001\0"))
    clients.append(store.connect(1, sent.append))
    for which, request in requests:
        sent.clear()
        store.handle(clients[which], request)
        (reply,) = [packet for packet in sent if packet.op != Op.WATCH_EVENT]
        assert (reply.request, reply.transaction) == (request.request, request.transaction)
        assert reply.op in (request.op, Op.ERROR)
        assert all(len(packet.payload) <= PAYLOAD_MAX for packet in sent)


@given(st.lists(PACKETS), st.integers(1, 50))
def test_packets_survive_being_cut_anywhere(packets: list[Packet], size: int) -> None:
    stream = b"".join(map(bytes, packets))
    buffer = PacketBuffer()
    seen = []
    for start in range(0, len(stream), size):
        buffer.feed(stream[start : start + size])
        while packet := buffer.next():
            seen.append(packet)
    assert seen == packets


@given(st.binary(max_size=100))
def test_stream_is_packets_or_malformed(octets: bytes) -> None:
    buffer = PacketBuffer()
    buffer.feed(octets)
    try:
        while buffer.next():
            pass
    except MalformedPacket:
        pass


@given(st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), min_size=1))
def test_path_is_its_parent_and_its_name(names: list[str]) -> None:
    path = "/" + "/".join(names)
    assert name_of(path) == names[-1]
    assert is_below(path, parent_of(path))
    assert not is_below(parent_of(path), path)
    assert not is_below(path + "x", path)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NUMBERS = st.one_of(st.integers(0, 12), st.integers(), JSON)
REQUESTS = st.one_of(
    st.binary(max_size=50),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(
                ["share", "end_share", "map", "allocate", "bind", "end_channel", "create", "hello"]
            )
        },
        optional={
            "peer": st.sampled_from([0, 1, 2, -1]),
            "count": st.one_of(st.integers(0, 3), JSON),
            "refs": st.one_of(st.lists(NUMBERS, max_size=3), JSON),
            "first_ref": NUMBERS,
            "port": NUMBERS,
            "version": NUMBERS,
            "name": JSON,
        },
    ).map(lambda request: json.dumps(request).encode()),
)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), REQUESTS), max_size=30))
def test_hypervisor_answers_each_request_and_keeps_no_descriptor(
    requests: list[tuple[int, bytes]],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    hypervisor = Hypervisor(lambda domid: f"/store/{domid}")
    sessions = [hypervisor.connect(lambda: None) for _ in range(3)]
    hypervisor.handle(sessions[0], b'{"op": "hello", "version": 1}')
    hypervisor.handle(sessions[0], b'{"op": "create", "name": "work"}')
    hello = b'{"op": "hello", "version": 1, "domain": "work"}'
    for session in sessions[1:]:
        hypervisor.handle(session, hello)
    for which, request in requests:
        reply, fds = hypervisor.handle(sessions[which], request)
        assert isinstance(json.loads(reply), dict)
        assert len(fds) <= 253
    for session in sessions:
        hypervisor.disconnect(session)
    assert len(os.listdir("/proc/self/fd")) == before
