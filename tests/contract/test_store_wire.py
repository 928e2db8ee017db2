"""The stand-in store and Debian's real xenstored, packet by packet: the same requests, the same
replies and events, for domain 0 and for guests with their rights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.raw_store import RawClient, RawStore, Step
from tests.contract.wire_sequences import DOMAIN0, GUEST, HOME, OTHER, SECOND, SEQUENCES, of
from tests.support.local_machine import LocalMachine
from tests.support.real_xenstored import is_that_of_the_standin, xenstored
from xensnd.localxen.store.wire import Op, Packet


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RawStore, RawStore]]:
    """The stand-in, and the real one of the same version."""
    if not is_that_of_the_standin():
        pytest.skip(f"the stand-in answers as Xen 4.17's xenstored does; here is {xenstored()}")
    with (
        LocalMachine(tmp_path_factory.mktemp("standin")) as standin,
        LocalMachine(tmp_path_factory.mktemp("real"), "xenstored") as real,
    ):
        pair = RawStore(standin), RawStore(real)
        assert pair[0].domids == pair[1].domids == [1, 2]
        yield pair
        for store in pair:
            store.close()


def compare(stores: tuple[RawStore, RawStore], steps: Sequence[Step]) -> None:
    standin, real = (store.run(steps) for store in stores)
    for step, ours, theirs in zip(steps, standin, real, strict=True):
        assert [distinct(each) for each in ours] == [distinct(each) for each in theirs], step


def distinct(packets: list[Packet]) -> list[Packet]:
    """xenstored drops an event while an equal one waits to be read: that is a matter of time."""
    kept: list[Packet] = []
    for packet in packets:
        if packet.op != Op.WATCH_EVENT or packet not in kept:
            kept.append(packet)
    return kept


@pytest.mark.parametrize("name", SEQUENCES)
def test_standin_answers_as_xenstored(stores: tuple[RawStore, RawStore], name: str) -> None:
    compare(stores, SEQUENCES[name])


def test_next_domain_of_the_same_number_inherits_no_permission(
    stores: tuple[RawStore, RawStore],
) -> None:
    for store in stores:
        with store.fresh() as clients:
            dom0 = clients[DOMAIN0]
            dom0.ask(Op.WRITE, b"/a\0secret")
            dom0.ask(Op.SET_PERMS, b"/a\0n0\0r1\0")
            assert clients[GUEST].ask(Op.READ, b"/a\0").payload == b"secret"
            dom0.ask(Op.RELEASE, b"1\0")
            dom0.ask(Op.WRITE, b"/b\0")  # its age counts in writes
            dom0.ask(Op.INTRODUCE, b"1\0001\0001\0")
            with contextlib.closing(store.guest_channel(1)) as channel:
                assert RawClient(channel).ask(Op.READ, b"/a\0").payload == b"EACCES\0"
            assert dom0.ask(Op.GET_PERMS, b"/a\0").payload == b"n0\0r1\0"


@pytest.mark.parametrize(
    ("client", "payload", "error"),
    [
        (DOMAIN0, b"@other\0n0\0", b"EINVAL\0"),
        (GUEST, b"@releaseDomain\0n0\0r1\0", b"EACCES\0"),
    ],
)
def test_permissions_of_special_watches_are_refused(
    stores: tuple[RawStore, RawStore], client: int, payload: bytes, error: bytes
) -> None:
    """Not asked of the real one: 4.17 answers with whatever errno holds, or if that is 0, dies."""
    (arrived,) = stores[0].run(of(client, (Op.SET_PERMS, payload)))
    assert [packet.payload for packet in arrived[client]] == [error]


def test_directory_in_parts_is_the_same_but_for_its_generation(
    stores: tuple[RawStore, RawStore],
) -> None:
    names = [b"%s%d" % (b"n" * 150, number) for number in range(60)]
    steps = of(DOMAIN0, *[(Op.MKDIR, b"/a/%s\0" % name) for name in names])
    parts = of(
        DOMAIN0,
        *[(Op.DIRECTORY_PART, b"/a\0%d\0" % start) for start in (0, 152, 4000, 9109, 9110, 9999)],
    )
    standin, real = (store.run([*steps, *parts])[len(steps) :] for store in stores)
    for part, ours, theirs in zip(parts, standin, real, strict=True):
        # The length of the generation changes how many names fit: here both have few digits.
        our_names, their_names = (
            arrived[DOMAIN0][0].payload.split(b"\0")[1:] for arrived in (ours, theirs)
        )
        shared = min(len(our_names), len(their_names)) - 1
        assert our_names[:shared] == their_names[:shared], part
        assert abs(len(our_names) - len(their_names)) <= 1


_PATHS = st.sampled_from(
    [b"/a", b"/a/b", b"/a/b/c", b"/a/both", b"/a/both/x", b"/b", b"/", b"data", b"data/x", b"name"]
)
_PERMISSIONS = st.lists(st.sampled_from([b"n0", b"r0", b"b1", b"r1", b"w2", b"n1"]), min_size=1)
_TOKENS = st.sampled_from([b"t", b"u"])


def _strings(*strings: bytes) -> bytes:
    return b"".join(string + b"\0" for string in strings)


_REQUESTS = st.one_of(
    st.tuples(
        st.sampled_from([Op.READ, Op.DIRECTORY, Op.GET_PERMS, Op.MKDIR, Op.RM, Op.RM]),
        _PATHS.map(_strings),
    ),
    st.tuples(st.just(Op.WRITE), st.builds(lambda path: path + b"\0value", _PATHS)),
    st.tuples(
        st.just(Op.SET_PERMS),
        st.builds(lambda path, words: _strings(path, *words), _PATHS, _PERMISSIONS),
    ),
    st.tuples(st.sampled_from([Op.WATCH, Op.UNWATCH]), st.builds(_strings, _PATHS, _TOKENS)),
    st.tuples(st.just(Op.TRANSACTION_START), st.just(b"\0")),
    st.tuples(st.just(Op.TRANSACTION_END), st.sampled_from([b"T\0", b"T\0", b"F\0"])),
)
_STEPS = st.builds(
    lambda client, request, transaction: Step(client, request[0], request[1], transaction),
    st.sampled_from([DOMAIN0, DOMAIN0, OTHER, GUEST, SECOND]),
    _REQUESTS,
    st.sampled_from([0, 0, 0, 1, 1, 2]),
)


@given(st.lists(_STEPS, min_size=5, max_size=40))
@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_standin_answers_as_xenstored_whatever_is_asked(
    stores: tuple[RawStore, RawStore], steps: list[Step]
) -> None:
    compare(stores, [*HOME, *steps])
