"""What an agent may ask of XenStore: a total table, and all else is refused.

It may read which domains run, their names, whose stubdomains they are, everything below vsnd, and
where a guest offers its two vchans of sound. It may write the nodes of vsnd devices alone, each
with the values that an agent writes. Where a guest publishes its rings, it may not write.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from pyxs._internal import Op

from agent_dom0.cards.device import DevicePath
from agent_dom0.cards.toolstack import (
    backend_nodes,
    backend_permissions,
    frontend_nodes,
    frontend_permissions,
)
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import CAPTURE_IN_PLACE, SUPPORTED_VERSIONS, VERSIONS
from xensnd.transport.xenstore import DIRECTORY_PART
from xensnd.vchan.nodes import PORTS

_READS = {Op.READ, Op.DIRECTORY, DIRECTORY_PART}
_WATCHES = {Op.WATCH, Op.UNWATCH}
_CHANGES = {Op.WRITE, Op.MKDIR, Op.RM, Op.SET_PERMS}
_DOMIDS = range(1, 0x7FF0)  # of guests; above are Xen's own
_TOKEN_OCTETS_MAX = 128
_NUMBER = r"(0|[1-9]\d{0,4})"
_BELOW = r"(?:/[-\w@]+)*"
_STATES = {str(int(state)) for state in XenbusState if state is not XenbusState.UNKNOWN}


class VsndRules:
    """Those of an agent in the domain `domid`. `exists` says whether a domain runs."""

    def __init__(self, domid: int, exists: Callable[[int], bool]) -> None:
        self._domid = domid
        self._exists = exists
        root = f"/local/domain/{domid}/backend/vsnd"
        frontend = f"/local/domain/{_NUMBER}/device/vsnd"
        vchan = f"/local/domain/{_NUMBER}/data/vchan/{domid}/(?:{'|'.join(map(str, PORTS))})"
        self._reads = _one_of(
            "/local/domain",
            f"/local/domain/{_NUMBER}/(?:name|vm|target)",
            r"/vm/[-\w]+/label",
            f"{root}{_BELOW}",
            f"{frontend}{_BELOW}",
            f"{vchan}/(?:ring-ref|event-channel)",
        )
        self._watches = _one_of(
            "@introduceDomain",
            "@releaseDomain",
            root,
            f"/local/domain/{_NUMBER}/(?:name|target)",
            rf"{frontend}/\d{{1,2}}/state",
            f"{vchan}/event-channel",
        )
        self._guest = re.compile(f"{root}/{_NUMBER}", re.ASCII)
        self._backend = re.compile(rf"{root}/{_NUMBER}/(\d{{1,2}})(?:/(.+))?", re.ASCII)
        self._frontend = re.compile(rf"{frontend}/(\d{{1,2}})(?:/(.+))?", re.ASCII)

    def admits(self, op: int, payload: bytes) -> bool:
        path, nul, rest = payload.decode("latin-1").partition("\0")
        if not nul:
            return False
        if op in _READS:
            return self._reads.fullmatch(path) is not None
        if op in _WATCHES:
            return len(rest) <= _TOKEN_OCTETS_MAX and self._watches.fullmatch(path) is not None
        return op in _CHANGES and self._may_change(op, path, rest)

    def _may_change(self, op: int, path: str, rest: str) -> bool:
        if op == Op.RM and (match := self._guest.fullmatch(path)):
            return self._is_guest(int(match[1]))  # of a guest that has ended, too
        for is_backend, pattern in ((True, self._backend), (False, self._frontend)):
            if match := pattern.fullmatch(path):
                device = DevicePath(self._domid, int(match[1]), int(match[2]))
                return self._may_change_device(device, is_backend, op, match[3], rest)
        return False

    def _may_change_device(
        self, device: DevicePath, is_backend: bool, op: int, node: str | None, rest: str
    ) -> bool:
        domid = device.guest_domid
        if op == Op.RM:
            return node is None and self._is_guest(domid)
        if not self._is_guest(domid) or not self._exists(domid):
            return False
        half = _half(device, is_backend)
        if op == Op.MKDIR:
            return node is None
        if op == Op.SET_PERMS:
            return node is None and rest == half.permissions
        return rest in half.values.get(node or "", ())

    def _is_guest(self, domid: int) -> bool:
        return domid in _DOMIDS and domid != self._domid


@dataclass(frozen=True, slots=True)
class _Half:
    """All that an agent writes into one half of a device."""

    values: Mapping[str, Set[str]]  # by node
    permissions: str  # of its directory, as they are on the wire


@functools.lru_cache(maxsize=64)
def _half(device: DevicePath, is_backend: bool) -> _Half:
    nodes = backend_nodes(device) if is_backend else frontend_nodes(device)
    words = backend_permissions(device) if is_backend else frontend_permissions(device)
    values: dict[str, Set[str]] = {name: {value} for name, value in nodes.items()}
    if is_backend:
        values |= {"state": _STATES, VERSIONS: {SUPPORTED_VERSIONS}, CAPTURE_IN_PLACE: {"1"}}
    return _Half(values, "".join(f"{word}\0" for word in words))


def _one_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.ASCII)
