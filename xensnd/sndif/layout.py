"""Where things lie in the shared pages. Offsets are in octets; indices are u32, little-endian.

Source: sndif.h, struct xensnd_event_page and struct xensnd_page_directory; ring.h,
DEFINE_RING_TYPES. The audio core checks its own copy of these against the same headers.
"""

from __future__ import annotations

__all__ = [
    "DIRECTORY_NEXT_OFFSET",
    "DIRECTORY_REFS",
    "DIRECTORY_REFS_OFFSET",
    "EVENT_HEADER_OCTETS",
    "EVENT_SLOTS",
    "IN_CONS_OFFSET",
    "IN_PROD_OFFSET",
    "PAGE_OCTETS",
    "REQ_EVENT_OFFSET",
    "REQ_PROD_OFFSET",
    "RING_HEADER_OCTETS",
    "RING_SLOTS",
    "RSP_EVENT_OFFSET",
    "RSP_PROD_OFFSET",
    "buffer_pages",
    "directory_pages",
]

PAGE_OCTETS = 4096

# The request ring: 63 packets would fit, ring.h rounds down to a power of two.
RING_HEADER_OCTETS = 64
RING_SLOTS = 32
REQ_PROD_OFFSET = 0
REQ_EVENT_OFFSET = 4
RSP_PROD_OFFSET = 8
RSP_EVENT_OFFSET = 12

# The event page does not round: an index is taken modulo 63.
EVENT_HEADER_OCTETS = 64
EVENT_SLOTS = 63
IN_CONS_OFFSET = 0
IN_PROD_OFFSET = 4

# A page of the directory: the reference of the next such page (0: the last), then references.
DIRECTORY_NEXT_OFFSET = 0
DIRECTORY_REFS_OFFSET = 4
DIRECTORY_REFS = 1023


def buffer_pages(octets: int) -> int:
    """Pages that a buffer of OPEN takes."""
    return -(-octets // PAGE_OCTETS)


def directory_pages(pages: int) -> int:
    """Directory pages that name `pages` pages: the most a walk may visit. At least one exists."""
    return max(1, -(-pages // DIRECTORY_REFS))
