from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.local.memory import Page, PageMapping, create_pages


@pytest.fixture
def fd() -> Iterator[int]:
    fd = create_pages(3)
    yield fd
    os.close(fd)


def test_created_pages_cannot_change_their_size(fd: int) -> None:
    for octets in (0, 4 * PAGE_OCTETS):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, octets)


def test_pages_are_mapped_in_the_order_given(fd: int) -> None:
    for page in range(3):
        os.pwrite(fd, b"%d" % page, page * PAGE_OCTETS)
    mapping = PageMapping([Page(fd, 2), Page(fd, 0), Page(fd, 2)], writable=False)
    seen = [ctypes.string_at(mapping.address + page * PAGE_OCTETS, 1) for page in range(3)]
    assert seen == [b"2", b"0", b"2"]
    mapping.close()


def test_memory_that_could_shrink_is_refused() -> None:
    fd = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, PAGE_OCTETS)
    with pytest.raises(ValueError, match="not sealed against shrinking"):
        PageMapping([Page(fd, 0)], writable=True)
    os.close(fd)


def test_file_that_is_no_memory_is_refused() -> None:
    with open("/dev/zero", "rb") as file, pytest.raises(ValueError, match="not sealed"):
        PageMapping([Page(file.fileno(), 0)], writable=False)


@pytest.mark.parametrize("number", [-1, 3])
def test_page_beyond_the_end_is_refused(fd: int, number: int) -> None:
    with pytest.raises(ValueError, match=f"page {number} is beyond the end"):
        PageMapping([Page(fd, number)], writable=True)
