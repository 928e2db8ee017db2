"""Which guests run, as XenStore knows them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from xensnd.transport.interface import Store

_LABEL = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class RunningGuest:
    """A session of a guest is its domid and uuid; the name may change while it runs."""

    domid: int
    name: str
    uuid: str = ""
    label: str = ""  # a colour, where the platform gives its guests labels
    shares_name: bool = field(default=False, compare=False)  # with another guest that runs


def children(store: Store, path: str) -> set[int]:
    """The numbers among a node's children."""
    try:
        return {int(name) for name in store.list(path) if name.isascii() and name.isdigit()}
    except KeyError:
        return set()


def read_guest(store: Store, domid: int) -> RunningGuest | None:
    """None: it is gone again, or has no name yet. All read here is written by dom0 alone."""
    try:
        name = store.read(f"/local/domain/{domid}/name")
        vm_path = store.read(f"/local/domain/{domid}/vm")
    except KeyError:
        return None
    if not name or not name.isprintable():
        return None
    uuid = vm_path.rsplit("/", 1)[-1]
    return RunningGuest(domid=domid, name=name, uuid=uuid, label=_label(store, vm_path))


def read_guest_of_backend(store: Store, directory: str, domid: int) -> RunningGuest | None:
    """What an audio domain knows of a guest: the name that the toolstack may have left in the
    backend's directory (`domain`), or else its number."""
    name = f"dom{domid}"
    for devid in sorted(children(store, directory)):
        try:
            given = store.read(f"{directory}/{devid}/domain")
        except (KeyError, PermissionError):
            continue
        name = given if given and given.isprintable() else name
    return RunningGuest(domid=domid, name=name)


def _label(store: Store, vm_path: str) -> str:
    """A colour that the toolstack may give a guest; no name of an icon is made of anything else."""
    try:
        label = store.read(f"{vm_path}/label")
    except (KeyError, PermissionError):
        return ""
    return label if _LABEL.fullmatch(label) else ""
