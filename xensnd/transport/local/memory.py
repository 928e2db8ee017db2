"""Shared pages on one machine: sealed memfds, mapped page by page into one run of addresses."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from typing import NamedTuple

from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.mapping import Mapping, Part


class Page(NamedTuple):
    """One page of a memfd."""

    fd: int
    number: int


def create_pages(count: int) -> int:
    """Return a memfd of zeroed pages. It is sealed: its size cannot change."""
    fd = os.memfd_create("xensnd-pages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, count * PAGE_OCTETS)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except OSError:
        os.close(fd)
        raise
    return fd


class PageMapping(Mapping):
    """Pages of any memfds, mapped in the given order at consecutive addresses.

    Raises ValueError for a page that could vanish, since reading it would then raise SIGBUS.
    """

    def __init__(self, pages: Sequence[Page], *, writable: bool) -> None:
        for page in pages:
            _require_sealed(page)
        parts = [Part(page.fd, page.number * PAGE_OCTETS, PAGE_OCTETS) for page in pages]
        super().__init__(parts, writable=writable)


def _require_sealed(page: Page) -> None:
    try:
        sealed = fcntl.fcntl(page.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    except OSError:
        sealed = 0
    if not sealed:
        raise ValueError("memory that is not sealed against shrinking")
    if not 0 <= page.number < os.fstat(page.fd).st_size // PAGE_OCTETS:
        raise ValueError(f"page {page.number} is beyond the end of the memory")
