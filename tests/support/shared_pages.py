"""Where things lie in the shared pages, for peers that read and write them by hand.

Offsets are in octets; indices are u32, little-endian. Source: sndif.h, struct xensnd_event_page and
struct xensnd_page_directory; ring.h, DEFINE_RING_TYPES. The audio core has its own, in C;
tests/unit/test_sndif_header.py compares these with the headers.
"""

from __future__ import annotations

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
