"""What libxl does, on the stand-in for Xen: domains and their store nodes come and go, and sound
cards go."""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID, uuid4

from xensnd.transport.interface import Store
from xensnd.transport.local import LocalTransport

# Below /local/domain/N: those that libxl lets the guest read, and those that it gives to the guest.
_READABLE = ("cpu", "memory", "device", "control")
_OWNED = (
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
)


_CLOSING = "closing"


def describe_domain0(store: Store) -> None:
    """As xen-init-dom0 does when a machine starts."""
    store.write("/local/domain/0/domid", "0")
    store.write("/local/domain/0/name", "Domain-0")


def create(transport: LocalTransport, name: str, uuid: UUID | None = None) -> int:
    """A running domain, seen by all who watch @introduceDomain. Its domid."""
    domid = transport.create_domain(name)
    store = transport.open_store()
    try:
        for attempt in store.transactions():
            with attempt as transaction:
                _describe(transaction, domid, name, str(uuid or uuid4()))
        store.introduce(domid)
    except BaseException:
        transport.destroy_domain(name)
        raise
    finally:
        store.close()
    return domid


def destroy(transport: LocalTransport, name: str) -> None:
    """As the death of a domain looks: its nodes gone, then the domain, then @releaseDomain."""
    domid = transport.destroy_domain(name)
    store = transport.open_store()
    try:
        for attempt in store.transactions():
            with attempt as transaction:
                _forget(transaction, domid)
        with suppress(KeyError):  # its creation may have stopped half way
            store.release(domid)
    finally:
        store.close()


def close_device(store: Store, domid: int) -> None:
    """As libxl does before it takes a sound card away: its backend has to say that it let go."""
    backend = _backend(domid)
    store.watch(f"{backend}/state", _CLOSING)
    store.write(f"{backend}/online", "0")
    store.write(f"{backend}/state", "5")
    while store.read(f"{backend}/state") != "6":
        select.select([store.fileno()], [], [])
        store.events()
    store.unwatch(f"{backend}/state", _CLOSING)


def detach(store: Store, domid: int) -> None:
    """As `xl vsnd-detach`."""
    close_device(store, domid)
    for attempt in store.transactions():
        with attempt as transaction:
            transaction.remove(f"/local/domain/{domid}/device/vsnd/0")
            transaction.remove(_backend(domid))


def _backend(domid: int) -> str:
    return f"/local/domain/0/backend/vsnd/{domid}/0"


def _describe(store: Store, domid: int, name: str, uuid: str) -> None:
    home, vm = f"/local/domain/{domid}", f"/vm/{uuid}"
    readable, owned = ("n0", f"r{domid}"), (f"n{domid}",)
    for path, permissions in ((home, readable), (vm, readable), (f"/libxl/{domid}", ("n0",))):
        store.remove(path)
        _make(store, path, permissions)
    for path, value in (
        (f"{home}/vm", vm),
        (f"{home}/name", name),
        (f"{home}/domid", str(domid)),
        (f"{vm}/name", name),
        (f"{vm}/uuid", uuid),
    ):
        store.write(path, value)
    for below in _READABLE:
        _make(store, f"{home}/{below}", readable)
    for below in _OWNED:
        _make(store, f"{home}/{below}", owned)


def _make(store: Store, path: str, permissions: Sequence[str]) -> None:
    store.mkdir(path)
    store.set_permissions(path, permissions)


def _forget(store: Store, domid: int) -> None:
    home = f"/local/domain/{domid}"
    with suppress(KeyError):
        store.remove(store.read(f"{home}/vm"))
    store.remove(home)
    store.remove(f"/libxl/{domid}")
