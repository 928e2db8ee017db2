"""Where the two rings of a vchan are, as its shared page says.

The server writes the page before it tells the client of it. The client writes into the left ring
and reads from the right one. Source: libxenvchan.h, struct vchan_interface; the core reads and
writes the indices.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.layout import PAGE_OCTETS

__all__ = ["ORDERS", "Ring", "VchanPage", "parse_page"]

_ORDERS_AT = struct.Struct("<16x2H")  # behind the indices of both rings
_REFS_AT = 24

# The rings of these orders lie in the page itself, from these octets on.
_IN_PAGE = {10: 1024, 11: 2048}
# Larger ones are pages that the server grants.
_PAGE_ORDER = 12
ORDERS = range(10, 21)


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring of 2 ** `order` octets: in the page from `offset` on, or in the pages `refs`."""

    order: int
    offset: int
    refs: tuple[int, ...]

    @property
    def octets(self) -> int:
        return int(2**self.order)


@dataclass(frozen=True, slots=True)
class VchanPage:
    left: Ring  # from the client to the server
    right: Ring


def parse_page(untrusted: bytes) -> VchanPage:
    """Read a copy of the page. RemoteProtocolError: no client could use it."""
    if len(untrusted) != PAGE_OCTETS:
        raise RemoteProtocolError(f"a vchan page of {len(untrusted)} octets, must be {PAGE_OCTETS}")
    orders = _ORDERS_AT.unpack_from(untrusted)
    for side, order in zip(("left", "right"), orders, strict=True):
        if order not in ORDERS:
            raise RemoteProtocolError(
                f"{side} ring of order {order}, allowed {ORDERS.start} to {ORDERS.stop - 1}"
            )
    counts = [_pages(order) for order in orders]
    refs = struct.unpack_from(f"<{sum(counts)}I", untrusted, _REFS_AT)
    left = Ring(orders[0], _offset(orders[0]), refs[: counts[0]])
    right = Ring(orders[1], _offset(orders[1]), refs[counts[0] :])
    _require_apart([left, right], _REFS_AT + 4 * len(refs))
    return VchanPage(left, right)


def _require_apart(rings: Sequence[Ring], refs_end: int) -> None:
    """What lies in the page does not overlap there."""
    inside = [ring for ring in rings if not ring.refs]
    if len(inside) == 2 and inside[0].order == inside[1].order:
        raise RemoteProtocolError(
            f"both rings of order {inside[0].order} in the page, allowed are 10 and 11"
        )
    for ring in inside:
        if refs_end > ring.offset:
            raise RemoteProtocolError(
                f"references up to octet {refs_end} of the page, where a ring begins at "
                f"{ring.offset}"
            )


def _pages(order: int) -> int:
    return 0 if order in _IN_PAGE else int(2 ** (order - _PAGE_ORDER))


def _offset(order: int) -> int:
    return _IN_PAGE.get(order, 0)
