"""How many pages a stream's buffer and its directory take.

Source: sndif.h, struct xensnd_page_directory. The core reads and writes the contents of the pages.
"""

from __future__ import annotations

__all__ = ["DIRECTORY_REFS", "PAGE_OCTETS", "buffer_pages", "directory_pages"]

PAGE_OCTETS = 4096
DIRECTORY_REFS = 1023  # in a page of the directory, behind the reference of the next


def buffer_pages(octets: int) -> int:
    """Return the pages that a buffer of OPEN takes."""
    return -(-octets // PAGE_OCTETS)


def directory_pages(pages: int) -> int:
    """Return the directory pages that name `pages` pages: the most a walk may visit. At least one
    exists."""
    return max(1, -(-pages // DIRECTORY_REFS))
