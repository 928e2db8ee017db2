"""Memory of descriptors, mapped part by part into one run of addresses."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from typing import NamedTuple

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


class Part(NamedTuple):
    """Whole pages of a descriptor, which may be closed when they are mapped."""

    fd: int
    offset: int
    octets: int


class Mapping:
    """The parts at consecutive addresses. Raises OSError."""

    def __init__(self, parts: Sequence[Part], *, writable: bool) -> None:
        self.octets = sum(part.octets for part in parts)
        self.address = _mmap(None, self.octets, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        address = self.address
        try:
            for part in parts:
                flags = mmap.MAP_SHARED | _MAP_FIXED
                _mmap(address, part.octets, access, flags, part.fd, part.offset)
                address += part.octets
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self.octets:
            _libc.munmap(self.address, self.octets)
            self.octets = 0


def _mmap(address: int | None, octets: int, access: int, flags: int, fd: int, offset: int) -> int:
    result = _libc.mmap(address, octets, access, flags, fd, offset)
    if result == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
