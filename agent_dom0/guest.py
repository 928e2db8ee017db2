"""The running guests, read from XenStore."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from xensnd.transport.interface import Store

STUBDOMAIN = "-dm"  # how the toolstack ends its name
_LABEL = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class RunningGuest:
    """A session of a guest is its domid and uuid; the name may change while it runs.

    A stubdomain runs the devices of another guest, its target, and has the name of that: what
    sounds there is the target's sound.
    """

    domid: int
    name: str
    uuid: str = ""
    label: str = ""  # a colour, where the platform gives its guests labels
    target: int | None = None  # the guest whose stubdomain it is
    shares_name: bool = field(default=False, compare=False)  # with another guest that runs


def children(store: Store, path: str) -> set[int]:
    """The numbers among a node's children."""
    try:
        return {int(name) for name in store.list(path) if name.isascii() and name.isdigit()}
    except KeyError:
        return set()


def read_guest(store: Store, domid: int) -> RunningGuest | None:
    """Return the guest; None: it has gone, or has no name yet. Only dom0 writes these nodes."""
    try:
        name = store.read(f"/local/domain/{domid}/name")
        vm_path = store.read(f"/local/domain/{domid}/vm")
    except KeyError:
        return None
    if not name or not name.isprintable():
        return None
    uuid = vm_path.rsplit("/", 1)[-1]
    target = _target(store, domid, name)
    return RunningGuest(
        domid=domid,
        name=name if target is None else name.removesuffix(STUBDOMAIN),
        uuid=uuid,
        label=_label(store, vm_path),
        target=target,
    )


def read_name(store: Store, domid: int) -> str | None:
    """Return the name that the toolstack has given the guest; None: none that we may read."""
    return _read_name(store, f"/local/domain/{domid}/name")


def read_guest_of_backend(store: Store, directory: str, domid: int) -> RunningGuest | None:
    """Return what an audio domain can read about a guest: the name that the toolstack may have
    written into the backend's directory (`domain`). None: it has not."""
    name = None
    for devid in sorted(children(store, directory)):
        name = _read_name(store, f"{directory}/{devid}/domain") or name
    return None if name is None else RunningGuest(domid=domid, name=name)


def _read_name(store: Store, path: str) -> str | None:
    try:
        name = store.read(path)
    except (KeyError, PermissionError):
        return None
    return name if name and name.isprintable() else None


def _target(store: Store, domid: int, name: str) -> int | None:
    """Return whose stubdomain it is. Both the node and the name are the toolstack's, and it must
    have said the same in both."""
    try:
        target = store.read(f"/local/domain/{domid}/target")
    except (KeyError, PermissionError):
        return None
    if not target.isascii() or not target.isdigit():
        return None
    is_its = _read_name(store, f"/local/domain/{target}/name") == name.removesuffix(STUBDOMAIN)
    return int(target) if is_its and name.endswith(STUBDOMAIN) else None


def _label(store: Store, vm_path: str) -> str:
    """Return the colour that the toolstack has given the guest, or "". It becomes part of an icon's
    name, so nothing but a plain word is accepted."""
    try:
        label = store.read(f"{vm_path}/label")
    except (KeyError, PermissionError):
        return ""
    return label if _LABEL.fullmatch(label) else ""
