"""interface.Transport between two real processes: a guest that offers, domain 0 that takes."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_machine import LocalMachine
from tests.support.opener import AllGuests, RunningOpener
from tests.support.peer import Peer, has_event, read_memory, write_memory
from xensnd.errors import RemoteProtocolError, TransportLost, UsageError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.interface import Transport


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path) as machine:
        yield machine


@pytest.fixture
def domid(machine: LocalMachine) -> int:
    return machine.create("work")


@pytest.fixture
def guest(machine: LocalMachine, domid: int) -> Iterator[Peer]:  # noqa: ARG001  (it is there)
    with Peer(str(machine.directory), "work") as peer:
        yield peer


@pytest.fixture(params=["directly", "opener"])
def dom0(request: pytest.FixtureRequest, machine: LocalMachine) -> Iterator[Transport]:
    """It takes what guests offer, with devices of its own, or those of an opener."""
    if request.param == "directly":
        yield machine.transport()
        return
    with RunningOpener(machine, make_reach=AllGuests) as opener:
        yield opener.transport


def test_each_sees_what_the_other_writes(guest: Peer, dom0: Transport, domid: int) -> None:
    refs = guest.do("share", 0, 2)
    pages = dom0.map_pages(domid, refs, writable=True)
    assert pages.octets == 2 * PAGE_OCTETS
    guest.do("write", 0, PAGE_OCTETS - 2, "from guest")
    assert read_memory(pages, PAGE_OCTETS - 2, 10) == b"from guest"
    write_memory(pages, 5, b"from dom0")
    assert guest.do("read", 0, 5, 9) == "from dom0"
    pages.close()


def test_references_in_any_order_become_one_run_of_addresses(
    guest: Peer, dom0: Transport, domid: int
) -> None:
    first, second = guest.do("share", 0, 3), guest.do("share", 0, 2)
    for which, count in ((0, 3), (1, 2)):
        for page in range(count):
            guest.do("write", which, page * PAGE_OCTETS, f"run {which} page {page}")
    refs = [second[1], first[2], first[0], second[0], first[2]]
    pages = dom0.map_pages(domid, refs, writable=False)
    assert list(pages.refs) == refs
    contents = [read_memory(pages, page * PAGE_OCTETS, 12) for page in range(5)]
    assert contents == [
        b"run 1 page 1",
        b"run 0 page 2",
        b"run 0 page 0",
        b"run 1 page 0",
        b"run 0 page 2",
    ]
    pages.close()


def test_many_pages_are_mapped_at_once(guest: Peer, dom0: Transport, domid: int) -> None:
    refs = guest.do("share", 0, 1000)
    guest.do("write", 0, 999 * PAGE_OCTETS, "last")
    pages = dom0.map_pages(domid, refs[::-1], writable=False)
    assert read_memory(pages, 0, 4) == b"last"
    pages.close()


def test_pages_mapped_read_only_cannot_be_written(machine: LocalMachine, domid: int) -> None:
    with Peer(str(machine.directory), "work") as guest:
        refs = guest.do("share", 0, 1)
        pages = machine.transport().map_pages(domid, refs, writable=False)
        maps = Path("/proc/self/maps").read_text().splitlines()
        (line,) = [line for line in maps if line.startswith(f"{pages.address:08x}-")]
        assert line.split()[1] == "r--s"
        pages.close()


@pytest.mark.parametrize("bad", [-1, 1 << 32, 1 << 70])
def test_number_that_no_hypervisor_knows_is_the_peers_fault(
    dom0: Transport, domid: int, bad: int
) -> None:
    with pytest.raises(RemoteProtocolError, match=f"dom{domid} offers page {bad}"):
        dom0.map_pages(domid, [bad], writable=True)
    with pytest.raises(RemoteProtocolError, match=f"dom{domid} offers event channel {bad}"):
        dom0.bind_channel(domid, bad)


@pytest.mark.parametrize("bad", [[4711], [0], [0xFFFF_FFFF]])
def test_reference_that_was_not_offered_is_the_peers_fault(
    guest: Peer, dom0: Transport, domid: int, bad: list[int]
) -> None:
    refs = guest.do("share", 0, 1)
    message = rf"dom{domid} \(work\) grants no page {bad[0]} to dom0"
    with pytest.raises(RemoteProtocolError, match=message):
        dom0.map_pages(domid, [*refs, *bad], writable=True)


def test_reference_offered_to_another_domain_is_refused(
    machine: LocalMachine, guest: Peer, domid: int
) -> None:
    refs = guest.do("share", 0, 1)
    machine.create("other")
    with pytest.raises(RemoteProtocolError, match=r"to dom2 \(other\)"):
        machine.transport("other").map_pages(domid, refs, writable=False)


def test_ended_grant_stays_mapped_but_is_not_mapped_again(
    machine: LocalMachine, dom0: Transport, domid: int
) -> None:
    shared = machine.transport("work").share_pages(0, 1)
    mapped = dom0.map_pages(domid, shared.refs, writable=True)
    write_memory(shared, 0, b"kept")
    shared.close()
    shared.close()
    assert read_memory(mapped, 0, 4) == b"kept"
    with pytest.raises(RemoteProtocolError):
        dom0.map_pages(domid, shared.refs, writable=True)
    mapped.close()
    mapped.close()


def test_events_reach_the_other_side_both_ways(guest: Peer, dom0: Transport, domid: int) -> None:
    channel = dom0.bind_channel(domid, guest.do("allocate", 0))
    assert not select.select([channel.fds.wait_fd], [], [], 0)[0]
    guest.do("notify", 0)
    guest.do("notify", 0)
    assert has_event(channel)
    assert not select.select([channel.fds.wait_fd], [], [], 0)[0]
    channel.notify()
    assert guest.do("wait", 0)
    channel.close()
    channel.close()


def test_events_before_the_binding_are_not_lost(guest: Peer, dom0: Transport, domid: int) -> None:
    port = guest.do("allocate", 0)
    guest.do("notify", 0)
    channel = dom0.bind_channel(domid, port)
    assert has_event(channel)
    channel.close()


def test_channel_is_bound_once_at_a_time(guest: Peer, dom0: Transport, domid: int) -> None:
    port = guest.do("allocate", 0)
    channel = dom0.bind_channel(domid, port)
    with pytest.raises(
        RemoteProtocolError, match=rf"event channel {port} of dom1 .* bound already"
    ):
        dom0.bind_channel(domid, port)
    channel.close()
    dom0.bind_channel(domid, port).close()


def test_port_that_was_not_offered_is_refused(
    machine: LocalMachine, guest: Peer, dom0: Transport, domid: int
) -> None:
    port = guest.do("allocate", 0)
    with pytest.raises(RemoteProtocolError, match=rf"dom{domid} \(work\) offers no event channel"):
        dom0.bind_channel(domid, port + 1)
    machine.create("other")
    with pytest.raises(RemoteProtocolError, match="offers no event channel"):
        machine.transport("other").bind_channel(domid, port)


def test_end_that_another_bound_is_not_an_offer(
    machine: LocalMachine, guest: Peer, dom0: Transport, domid: int
) -> None:
    channel = dom0.bind_channel(domid, guest.do("allocate", 0))
    with pytest.raises(RemoteProtocolError):
        machine.transport("work").bind_channel(0, channel.port)
    channel.close()


def test_death_of_the_guest_ends_its_offers_but_not_the_mapping(
    machine: LocalMachine, guest: Peer, dom0: Transport, domid: int
) -> None:
    refs, port = guest.do("share", 0, 1), guest.do("allocate", 0)
    guest.do("write", 0, 0, "kept")
    pages = dom0.map_pages(domid, refs, writable=True)
    channel = dom0.bind_channel(domid, port)
    guest.kill()
    assert read_memory(pages, 0, 4) == b"kept"
    channel.notify()
    channel.close()
    machine.transport("work")  # a fresh connection: the stand-in has seen the end of the old one
    with pytest.raises(RemoteProtocolError):
        dom0.map_pages(domid, refs, writable=True)
    with pytest.raises(RemoteProtocolError):
        dom0.bind_channel(domid, port)
    pages.close()


def test_backend_that_died_is_followed_by_one_that_takes_the_same_over(
    machine: LocalMachine, guest: Peer, domid: int
) -> None:
    refs, port = guest.do("share", 0, 1), guest.do("allocate", 0)
    with Peer(str(machine.directory), None) as backend:
        backend.do("map", domid, refs)
        backend.do("bind", domid, port)
        backend.do("write", 0, 0, "first")
        backend.kill()
    with Peer(str(machine.directory), None) as backend:
        backend.do("map", domid, refs)
        backend.do("bind", domid, port)
        assert backend.do("read", 0, 0, 5) == "first"
        guest.do("notify", 0)
        assert backend.do("wait", 0)


def test_destroyed_domain_loses_its_hypervisor_and_its_offers(
    machine: LocalMachine, dom0: Transport, domid: int
) -> None:
    work = machine.transport("work")
    refs = work.share_pages(0, 1).refs
    machine.destroy("work")
    with pytest.raises(TransportLost):
        work.share_pages(0, 1)
    with pytest.raises(RemoteProtocolError, match=rf"dom{domid} \(gone\)"):
        dom0.map_pages(domid, refs, writable=True)
    with pytest.raises(UsageError, match=r"no domain 'work'; known are: none yet .*create NAME"):
        machine.transport("work")


def test_hypervisor_that_is_gone_is_lost(machine: LocalMachine) -> None:
    dom0 = machine.transport()
    pages, channel = dom0.share_pages(1, 1), dom0.allocate_channel(1)
    machine.kill()
    with pytest.raises(TransportLost, match="hypervisor"):
        dom0.share_pages(1, 1)
    with pytest.raises(TransportLost):
        dom0.allocate_channel(1)
    pages.close()
    channel.close()
    with pytest.raises(TransportLost, match="start it with: xensnd-localxen"):
        machine.transport()


def test_agents_have_a_directory_of_their_own(machine: LocalMachine, domid: int) -> None:
    assert machine.transport().runtime_directory == machine.directory / "dom0"
    assert machine.transport("work").runtime_directory == machine.directory / f"dom{domid}"
    assert machine.transport("work").runtime_directory.is_dir()
