"""The shared page of a vchan as its server writes it: libxenvchan's init.c."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from xensnd.sndif.layout import PAGE_OCTETS

IN_PAGE_ORDERS = (10, 11)


def vchan_page(left_order: int, right_order: int, refs: Sequence[int] = ()) -> bytes:
    """`refs`: of the left ring's pages, then of the right ring's. No client has come yet."""
    header = struct.pack("<16x2H4B", left_order, right_order, 2, 1, 1, 0)
    page = header + struct.pack(f"<{len(refs)}I", *refs)
    return page.ljust(PAGE_OCTETS, b"\0")[:PAGE_OCTETS]


def ring_pages(order: int) -> int:
    """How many pages a server grants for a ring."""
    return 0 if order in IN_PAGE_ORDERS else 1 << (order - 12)
