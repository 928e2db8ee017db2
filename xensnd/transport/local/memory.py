"""Shared pages on one machine: sealed memfds, mapped page by page into one run of addresses."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import NamedTuple

from xensnd.sndif.layout import PAGE_OCTETS

_MAP_FIXED = 0x10
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


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


class Mapping:
    """Pages of any memfds, mapped in the given order at consecutive addresses.

    Raises ValueError for a page that could vanish, since reading it would then raise SIGBUS.
    """

    def __init__(self, pages: Sequence[Page], *, writable: bool) -> None:
        for page in pages:
            _require_sealed(page)
        self.octets = len(pages) * PAGE_OCTETS
        self.address = _mmap(None, self.octets, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            for number, page in enumerate(pages):
                address = self.address + number * PAGE_OCTETS
                flags = mmap.MAP_SHARED | _MAP_FIXED
                _mmap(address, PAGE_OCTETS, access, flags, page.fd, page.number * PAGE_OCTETS)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self.octets:
            _libc.munmap(self.address, self.octets)
            self.octets = 0


def _require_sealed(page: Page) -> None:
    try:
        sealed = fcntl.fcntl(page.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    except OSError:
        sealed = 0
    if not sealed:
        raise ValueError("memory that is not sealed against shrinking")
    if not 0 <= page.number < os.fstat(page.fd).st_size // PAGE_OCTETS:
        raise ValueError(f"page {page.number} is beyond the end of the memory")


def _mmap(address: int | None, octets: int, access: int, flags: int, fd: int, offset: int) -> int:
    result = _libc.mmap(address, octets, access, flags, fd, offset)
    if result == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
