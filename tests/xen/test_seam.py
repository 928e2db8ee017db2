"""interface.Transport on Xen: a guest that offers and dom0 that takes, or dom0 with itself.

What tests/contract shows of the stand-in, as far as the real one behaves alike. It differs in
this: a port has fired once when it is bound, and pages stay granted while they are mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.peer import Refused
from tests.xen.lab import Lab, XenGuest
from tests.xen.peer import Peer
from tests.xen.remote import Machine
from xensnd.sndif.layout import PAGE_OCTETS


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[XenGuest]:
    """A guest that no agent knows."""
    with lab.guest("bare") as guest:
        yield guest


@pytest.fixture
def taker(dom0: Machine) -> Iterator[Peer]:
    with Peer(dom0) as taker:
        yield taker


@pytest.fixture(params=["guest", "dom0"])
def offerer(request: pytest.FixtureRequest, bare: XenGuest, dom0: Machine) -> Iterator[Peer]:
    with Peer(bare if request.param == "guest" else dom0) as offerer:
        yield offerer


@pytest.fixture
def domid(offerer: Peer) -> int:
    return int(offerer.do("domid"))


def test_domain_knows_its_number_and_has_a_directory(bare: XenGuest, taker: Peer) -> None:
    with Peer(bare) as peer:
        assert (peer.do("domid"), taker.do("domid")) == (bare.domid, 0)
        assert peer.do("runtime_directory") == "/run/xensnd"


def test_each_sees_what_the_other_writes(offerer: Peer, taker: Peer, domid: int) -> None:
    refs = offerer.do("share", 0, 2)
    taker.do("map", domid, refs)
    offerer.do("write", 0, PAGE_OCTETS - 2, "from guest")
    assert taker.do("read", 0, PAGE_OCTETS - 2, 10) == "from guest"
    taker.do("write", 0, 5, "from dom0")
    assert offerer.do("read", 0, 5, 9) == "from dom0"
    taker.do("unmap", 0)
    offerer.do("unmap", 0)


def test_references_in_any_order_become_one_run_of_addresses(
    offerer: Peer, taker: Peer, domid: int
) -> None:
    first, second = offerer.do("share", 0, 3), offerer.do("share", 0, 2)
    for which, count in ((0, 3), (1, 2)):
        for page in range(count):
            offerer.do("write", which, page * PAGE_OCTETS, f"run {which} page {page}")
    taker.do("map", domid, [second[1], first[2], first[0], second[0], first[2]])
    assert [taker.do("read", 0, page * PAGE_OCTETS, 12) for page in range(5)] == [
        "run 1 page 1",
        "run 0 page 2",
        "run 0 page 0",
        "run 1 page 0",
        "run 0 page 2",
    ]


def test_many_pages_are_mapped_at_once(offerer: Peer, taker: Peer, domid: int) -> None:
    refs = offerer.do("share", 0, 900)  # the kernel's gntalloc gives 1024 in all
    offerer.do("write", 0, 899 * PAGE_OCTETS, "last")
    taker.do("map", domid, refs[::-1])
    assert taker.do("read", 0, 0, 4) == "last"


def test_pages_mapped_read_only_cannot_be_written(offerer: Peer, taker: Peer, domid: int) -> None:
    assert taker.do("map_read_only", domid, offerer.do("share", 0, 1)) == "r--s"


@pytest.mark.parametrize("bad", [-1, 1 << 32, 1 << 70])
def test_number_that_no_hypervisor_knows_is_the_peers_fault(taker: Peer, bad: int) -> None:
    with pytest.raises(Refused, match=f"RemoteProtocolError: dom1 offers page {bad}"):
        taker.do("map", 1, [bad])
    with pytest.raises(Refused, match=f"RemoteProtocolError: dom1 offers event channel {bad}"):
        taker.do("bind", 1, bad)


@pytest.mark.parametrize("bad", [4711, 0xFFFF_FFFF])
def test_reference_that_was_not_offered_is_the_peers_fault(
    offerer: Peer, taker: Peer, domid: int, bad: int
) -> None:
    refs = offerer.do("share", 0, 1)
    with pytest.raises(Refused, match=f"RemoteProtocolError: dom{domid} does not grant page {bad}"):
        taker.do("map", domid, [bad])
    with pytest.raises(Refused, match=r"does not grant all of 2 pages from \d+ on to dom0"):
        taker.do("map", domid, [*refs, bad])
    taker.do("map", domid, refs)


def test_domain_that_is_not_there_offers_nothing(taker: Peer) -> None:
    with pytest.raises(Refused, match="RemoteProtocolError: dom4711 does not grant page 8"):
        taker.do("map", 4711, [8])
    with pytest.raises(Refused, match="RemoteProtocolError: dom4711 offers no event channel 1"):
        taker.do("bind", 4711, 1)


def test_reference_offered_to_another_domain_is_refused(bare: XenGuest, taker: Peer) -> None:
    with Peer(bare) as peer:
        refs = peer.do("share", 4711, 1)
        with pytest.raises(Refused, match="RemoteProtocolError"):
            taker.do("map", bare.domid, refs)


def test_ended_grant_stays_mapped(offerer: Peer, taker: Peer, domid: int) -> None:
    refs = offerer.do("share", 0, 1)
    taker.do("map", domid, refs)
    taker.do("write", 0, 0, "kept")
    offerer.do("unmap", 0)
    assert taker.do("read", 0, 0, 4) == "kept"
    taker.do("unmap", 0)


def test_events_reach_the_other_side_both_ways(offerer: Peer, taker: Peer, domid: int) -> None:
    taker.do("bind", domid, offerer.do("allocate", 0))
    assert taker.do("wait", 0)  # of the binding itself
    assert not taker.do("has_fired", 0)
    offerer.do("notify", 0)
    assert taker.do("wait", 0)
    assert not taker.do("has_fired", 0)
    taker.do("notify", 0)
    assert offerer.do("wait", 0)
    assert not offerer.do("has_fired", 0)


def test_events_before_the_binding_are_not_lost(offerer: Peer, taker: Peer, domid: int) -> None:
    port = offerer.do("allocate", 0)
    offerer.do("notify", 0)
    taker.do("bind", domid, port)
    assert taker.do("wait", 0)


def test_channel_is_bound_once_at_a_time(offerer: Peer, taker: Peer, domid: int) -> None:
    port = offerer.do("allocate", 0)
    taker.do("bind", domid, port)
    with pytest.raises(Refused, match=f"RemoteProtocolError: .* offers no event channel {port}"):
        taker.do("bind", domid, port)
    taker.do("unbind", 0)
    taker.do("bind", domid, port)


def test_port_that_was_not_offered_is_refused(offerer: Peer, taker: Peer, domid: int) -> None:
    port = offerer.do("allocate", 4711)
    for bad in (port, port + 1, 0):
        with pytest.raises(
            Refused, match=f"RemoteProtocolError: .* no event channel {bad} to dom0"
        ):
            taker.do("bind", domid, bad)


def test_backend_that_died_is_followed_by_one_that_takes_the_same_over(
    offerer: Peer, dom0: Machine, domid: int
) -> None:
    refs, port = offerer.do("share", 0, 1), offerer.do("allocate", 0)
    with Peer(dom0) as backend:
        backend.do("map", domid, refs)
        backend.do("bind", domid, port)
        backend.do("write", 0, 0, "first")
    with Peer(dom0) as backend:
        backend.do("map", domid, refs)
        backend.do("bind", domid, port)
        assert backend.do("read", 0, 0, 5) == "first"
        assert backend.do("wait", 0)
        offerer.do("notify", 0)
        assert backend.do("wait", 0)


def test_destroyed_domain_leaves_what_was_mapped(
    new_guest: Callable[..., XenGuest], taker: Peer
) -> None:
    guest = new_guest("doomed")
    with Peer(guest) as peer:
        refs, port = peer.do("share", 0, 1), peer.do("allocate", 0)
        peer.do("write", 0, 0, "kept")
        taker.do("map", guest.domid, refs)
        taker.do("bind", guest.domid, port)
        domid = guest.domid
        guest.destroy()
    assert taker.do("read", 0, 0, 4) == "kept"
    taker.do("notify", 0)
    taker.do("unmap", 0)
    taker.do("unbind", 0)
    with pytest.raises(Refused, match="RemoteProtocolError"):
        taker.do("map", domid, refs)


def test_store_keeps_its_contract_over_socket_and_xenbus(dom0: Machine) -> None:
    """The cases of tests/contract/test_store.py, on dom0's XenStore."""
    command = "cd /opt/xensnd && python3 -m pytest -q --noconftest -c /dev/null --rootdir=. "
    command += "--import-mode=importlib -p no:cacheprovider -p tests.xen.store_inside "
    ended = dom0.run("sh", "-c", f"{command} tests/contract/test_store.py", seconds=200)
    assert ended.status == 0, ended.output[-6000:]
    assert " passed" in ended.output
