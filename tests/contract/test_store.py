"""interface.Store, as domain 0 sees it."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.local_machine import LocalMachine
from xensnd.errors import TransportLost
from xensnd.transport.interface import TransactionConflict, WatchEvent
from xensnd.transport.xenstore import EVENTS_AT_ONCE, XenStore

WAIT_SECONDS = 5


def next_events(store: XenStore, count: int = 1) -> Sequence[WatchEvent]:
    """What fires next, at least so much."""
    events: list[WatchEvent] = []
    while len(events) < count:
        assert select.select([store], [], [], WAIT_SECONDS)[0], f"no event after {events}"
        events += store.events()
    return events


def watched(store: XenStore, path: str, token: str) -> None:
    """A watch whose first event is taken."""
    store.watch(path, token)
    assert next_events(store) == [WatchEvent(path, token)]


def test_written_value_is_read_by_another_connection(
    store: XenStore, other_store: XenStore
) -> None:
    store.write("/a/b", "hello world")
    assert other_store.read("/a/b") == "hello world"


def test_relative_path_starts_at_own_directory(store: XenStore) -> None:
    store.write("data/x", "1")
    assert store.read("/local/domain/0/data/x") == "1"


def test_missing_node_is_a_key_error_with_its_path(store: XenStore) -> None:
    with pytest.raises(KeyError, match="'/nothing/here'"):
        store.read("/nothing/here")


def test_empty_value_is_written_and_read(store: XenStore) -> None:
    store.write("/a", "full")
    store.write("/a", "")
    assert store.read("/a") == ""


def test_many_nodes_are_written_and_read_at_once(store: XenStore, other_store: XenStore) -> None:
    nodes = {f"/top/{number}": f"value {number}" for number in range(100)}
    store.write_each(nodes)
    paths = [*nodes, "/top/missing"]
    assert other_store.read_each(paths) == [*nodes.values(), None]
    assert other_store.read_each([]) == []


def test_many_that_are_read_beside_other_connections_are_those_that_were_asked_for(
    store: XenStore, connect: Callable[[], XenStore]
) -> None:
    """Beside others, the kernel's device sends a request late: xenstore.py."""
    nodes = {f"/top/{'n' * (number % 7)}{number}": f"value {number}" for number in range(40)}
    store.write_each(nodes)
    readers = [connect() for _ in range(3)]

    def read(reader: XenStore) -> bool:
        return all(reader.read_each([*nodes]) == [*nodes.values()] for _ in range(20))

    with ThreadPoolExecutor() as threads:
        assert [*threads.map(read, readers)] == [True] * 3


def test_one_of_many_that_fails_is_raised_and_the_connection_goes_on(store: XenStore) -> None:
    with pytest.raises(OSError, match="not a XenStore path"):
        store.write_each({"/a": "1", "/b c": "2"})
    with pytest.raises(OSError, match="@b"):
        store.write_each({"/a": "1", "@b": "2", "/c": "3"})
    assert store.read("/a") == "1"
    assert store.read_each(["/a", "/none"]) == ["1", None]


def test_value_that_is_not_printable_is_shown_escaped(store: XenStore) -> None:
    store.write("/a", "one\ntwo\0three ü")
    assert store.read("/a") == "one\\x0atwo\\x00three \\xc3\\xbc"


def test_list_gives_the_children_in_order_of_creation(store: XenStore) -> None:
    for name in ("b", "c", "a"):
        store.write(f"/top/{name}", "")
    assert store.list("/top") == ["b", "c", "a"]
    assert store.list("/top/a") == []


def test_directory_of_more_than_a_packet_is_listed_whole(store: XenStore) -> None:
    names = [f"{'x' * 200}{number}" for number in range(60)]
    for name in names:
        store.mkdir(f"/top/{name}")
    assert store.list("/top") == names


def test_mkdir_makes_parents_and_leaves_what_is_there(store: XenStore) -> None:
    store.mkdir("/a/b/c")
    store.write("/a/b", "kept")
    store.mkdir("/a/b")
    assert store.read("/a/b") == "kept"
    assert store.list("/a/b") == ["c"]


def test_remove_takes_all_below(store: XenStore) -> None:
    store.write("/a/b/c", "1")
    store.remove("/a/b")
    assert store.list("/a") == []
    with pytest.raises(KeyError):
        store.read("/a/b/c")


@pytest.mark.parametrize("path", ["/a/missing", "/no/parent/either"])
def test_remove_of_a_missing_node_is_no_error(store: XenStore, path: str) -> None:
    store.mkdir("/a")
    store.remove(path)


def test_permissions_are_set_and_inherited_by_new_children(store: XenStore) -> None:
    store.mkdir("/a")
    store.set_permissions("/a", ["b0", "r0", "w0"])
    store.mkdir("/a/b")
    assert store.get_permissions("/a/b") == ["b0", "r0", "w0"]


def test_owner_that_does_not_exist_is_refused(store: XenStore) -> None:
    store.mkdir("/a")
    with pytest.raises(KeyError):
        store.set_permissions("/a", ["n4711"])


@pytest.mark.parametrize(
    "path", ["", "/a/", "//a", "/a//b", "/ä", "/a b", "/a\0b", "/" + "a" * 3072]
)
def test_impossible_path_is_einval(store: XenStore, path: str) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|not a XenStore path") as caught:
        store.read(path)
    assert caught.value.errno == errno.EINVAL


def test_value_larger_than_a_packet_is_e2big(store: XenStore) -> None:
    with pytest.raises(OSError, match="4096") as caught:
        store.write("/a", "x" * 4096)
    assert caught.value.errno == errno.E2BIG
    store.write("/a", "x" * (4096 - len("/a\0")))


# Transactions


def test_transaction_is_seen_outside_only_after_its_commit(
    store: XenStore, other_store: XenStore
) -> None:
    with store.transaction() as transaction:
        transaction.write("/a", "1")
        assert transaction.read("/a") == "1"
        for outside in (store, other_store):
            with pytest.raises(KeyError):
                outside.read("/a")
    assert other_store.read("/a") == "1"


def test_exception_rolls_a_transaction_back(store: XenStore) -> None:
    def write_and_fail() -> None:
        with store.transaction() as transaction:
            transaction.write("/a", "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with pytest.raises(KeyError):
        store.read("/a")


def test_writer_that_comes_between_is_a_conflict(store: XenStore, other_store: XenStore) -> None:
    store.write("/a", "0")

    def read_then_write() -> None:
        with store.transaction() as transaction:
            transaction.read("/a")
            other_store.write("/a", "1")
            transaction.write("/b", "2")

    with pytest.raises(TransactionConflict):
        read_then_write()
    with pytest.raises(KeyError):
        store.read("/b")


def test_writer_elsewhere_is_no_conflict(store: XenStore, other_store: XenStore) -> None:
    store.write("/a/x", "0")
    store.write("/b/x", "0")
    with store.transaction() as transaction:
        transaction.write("/a/x", "1")
        other_store.write("/b/x", "2")
    assert (store.read("/a/x"), store.read("/b/x")) == ("1", "2")


def test_transactions_are_tried_until_one_commits(store: XenStore, other_store: XenStore) -> None:
    store.write("/counter", "0")
    attempts = 0
    for attempt in store.transactions():
        with attempt as transaction:
            attempts += 1
            value = int(transaction.read("/counter"))
            if attempts < 3:
                other_store.write("/counter", str(value + 10))
            transaction.write("/counter", str(value + 1))
    assert attempts == 3
    assert store.read("/counter") == "21"


def test_transactions_that_always_conflict_end_with_the_conflict(
    store: XenStore, other_store: XenStore
) -> None:
    def never_commit() -> None:
        for attempt in store.transactions():
            with attempt as transaction:
                transaction.list("/")
                other_store.mkdir("/a")
                other_store.remove("/a")

    with pytest.raises(TransactionConflict):
        never_commit()


# Watches


def test_watch_fires_once_at_once_and_then_for_all_below(
    store: XenStore, other_store: XenStore
) -> None:
    watched(store, "/a", "token")
    other_store.write("/a/b/c", "1")
    other_store.write("/elsewhere", "1")
    other_store.set_permissions("/a/b", ["r0"])
    other_store.remove("/a")
    assert next_events(store, 3) == [
        WatchEvent("/a/b/c", "token"),
        WatchEvent("/a/b", "token"),
        WatchEvent("/a", "token"),
    ]


def test_removal_of_a_parent_fires_the_watch_below_it(
    store: XenStore, other_store: XenStore
) -> None:
    store.write("/a/b/c", "1")
    watched(store, "/a/b/c", "token")
    other_store.remove("/a")
    assert next_events(store) == [WatchEvent("/a/b/c", "token")]


def test_relative_watch_fires_with_relative_paths(store: XenStore, other_store: XenStore) -> None:
    watched(store, "data", "token")
    other_store.write("/local/domain/0/data/x", "1")
    assert next_events(store) == [WatchEvent("data/x", "token")]


def test_own_write_fires_own_watch(store: XenStore) -> None:
    watched(store, "/a", "token")
    store.write("/a", "1")
    assert next_events(store) == [WatchEvent("/a", "token")]


def test_transaction_fires_only_when_it_commits(store: XenStore, other_store: XenStore) -> None:
    watched(store, "/a", "token")
    with other_store.transaction() as transaction:
        transaction.write("/a", "1")
        assert store.events() == []
    assert next_events(store) == [WatchEvent("/a", "token")]


def test_same_watch_again_is_harmless(store: XenStore) -> None:
    watched(store, "/a", "token")
    store.watch("/a", "token")
    store.write("/a", "1")
    assert next_events(store) == [WatchEvent("/a", "token")]


def test_unwatch_drops_events_that_nobody_took(store: XenStore) -> None:
    watched(store, "/a", "token")
    store.write("/a", "1")
    store.unwatch("/a", "token")
    assert store.events() == []
    assert not select.select([store], [], [], 0)[0]


def test_events_between_a_request_and_its_reply_are_kept(
    store: XenStore, other_store: XenStore
) -> None:
    watched(store, "/a", "token")
    other_store.write("/a", "1")
    assert store.read("/a") == "1"
    assert select.select([store], [], [], 0)[0]
    assert store.events() == [WatchEvent("/a", "token")]
    assert not select.select([store], [], [], 0)[0]


def test_unwatch_of_what_was_never_watched_is_a_key_error(store: XenStore) -> None:
    with pytest.raises(KeyError):
        store.unwatch("/a", "token")


def test_token_may_be_any_text(store: XenStore) -> None:
    watched(store, "/a", "be 7/0 @ {}: 'x'")


# Domains


def test_new_domain_fires_and_is_described_by_then(store: XenStore, machine: LocalMachine) -> None:
    watched(store, "@introduceDomain", "token")
    domid = machine.create("work")
    assert next_events(store) == [WatchEvent("@introduceDomain", "token")]
    assert store.read(f"/local/domain/{domid}/name") == "work"
    assert store.get_permissions(f"/local/domain/{domid}") == ["n0", f"r{domid}"]
    assert store.get_permissions(f"/local/domain/{domid}/data") == [f"n{domid}"]
    assert store.read(store.read(f"/local/domain/{domid}/vm") + "/name") == "work"


def test_end_of_a_domain_fires_and_takes_its_nodes(store: XenStore, machine: LocalMachine) -> None:
    domid = machine.create("work")
    store.mkdir("/elsewhere/owned")
    store.set_permissions("/elsewhere/owned", [f"n{domid}"])
    watched(store, "@releaseDomain", "token")
    machine.destroy("work")
    assert next_events(store) == [WatchEvent("@releaseDomain", "token")]
    assert store.list("/elsewhere") == []
    with pytest.raises(KeyError):
        store.list(f"/local/domain/{domid}")


# Loss


def test_store_that_dies_is_lost_and_readable(store: XenStore, machine: LocalMachine) -> None:
    watched(store, "/a", "token")
    machine.kill_store()
    assert select.select([store], [], [], WAIT_SECONDS)[0]
    for _ in range(2):
        with pytest.raises(TransportLost):
            store.events()
        with pytest.raises(TransportLost):
            store.read("/a")
        assert select.select([store], [], [], 0)[0]


def test_store_that_dies_in_a_transaction_is_lost(store: XenStore, machine: LocalMachine) -> None:
    def write() -> None:
        with store.transaction() as transaction:
            transaction.write("/a", "1")
            machine.kill_store()

    with pytest.raises(TransportLost):
        write()


def test_store_that_stops_answering_is_lost_after_the_timeout(machine: LocalMachine) -> None:
    store = machine.open_store(timeout=0.2)
    machine.freeze_store()
    before = time.monotonic()
    with pytest.raises(TransportLost, match=r"no answer within 0\.2 s"):
        store.read("/a")
    assert time.monotonic() - before < WAIT_SECONDS
    machine.thaw_store()
    with pytest.raises(TransportLost):
        store.read("/a")


def test_close_does_not_wait_for_a_frozen_store(machine: LocalMachine) -> None:
    store = machine.open_store()
    store.watch("/a", "token")
    machine.freeze_store()
    store.close()
    store.close()
    with pytest.raises(TransportLost, match="closed here"):
        store.events()


def test_store_that_is_not_there_is_lost_at_once(machine: LocalMachine) -> None:
    machine.kill_store()
    with pytest.raises(TransportLost, match="XenStore at /"):
        machine.open_store()


def test_event_that_comes_often_is_returned_once_with_its_count(
    store: XenStore, other_store: XenStore
) -> None:
    watched(store, "/a", "token")
    for number in range(20):
        other_store.write("/a", str(number))
    assert store.read("/a") == "19"  # and has kept what came before the reply
    (event,) = store.events()
    assert (event.path, event.token, event.times) == ("/a", "token", 20)


def test_events_without_end_are_read_in_parts(store: XenStore, other_store: XenStore) -> None:
    watched(store, "/a", "token")
    written = 3 * EVENTS_AT_ONCE
    for number in range(written):
        other_store.write(f"/a/{number}", "")
    parts = [next_events(store)]
    assert len(parts[0]) < written
    while sum(map(len, parts)) < written:
        parts.append(next_events(store))
    paths = [event.path for part in parts for event in part]
    assert paths == [f"/a/{number}" for number in range(written)]
    assert not select.select([store], [], [], 0)[0]
