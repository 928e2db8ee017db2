"""What libxl does, for the stand-in for Xen: creates and destroys domains with their store nodes,
and takes sound cards away."""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID, uuid4

from xensnd.transport.interface import Store
from xensnd.transport.local import LocalTransport

# Nodes below /local/domain/N that the guest may read, and nodes that it owns.
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
    """Write the nodes of domain 0, as xen-init-dom0 does when a machine starts."""
    store.write("/local/domain/0/domid", "0")
    store.write("/local/domain/0/name", "Domain-0")


def create(transport: LocalTransport, name: str, uuid: UUID | None = None) -> int:
    """Create a running domain and introduce it to the store. Returns its domid."""
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
    """Destroy a domain: first its grants and channels end, then its nodes, then @releaseDomain
    fires."""
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
    """Ask the backend to close a sound card, and wait until it has, as libxl does."""
    backend = _backend(domid)
    store.watch(f"{backend}/state", _CLOSING)
    store.write(f"{backend}/online", "0")
    store.write(f"{backend}/state", "5")
    while store.read(f"{backend}/state") != "6":
        select.select([store.fileno()], [], [])
        store.events()
    store.unwatch(f"{backend}/state", _CLOSING)


def detach(store: Store, domid: int) -> None:
    """Close a sound card and remove its nodes, as `xl vsnd-detach` does."""
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
