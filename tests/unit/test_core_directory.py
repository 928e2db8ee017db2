from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xensnd.core import build_directory, walk_directory
from xensnd.errors import RemoteProtocolError

PAGE_OCTETS = 4096
REFS_PER_PAGE = 1023


class Pages:
    """A frontend's directory pages, by reference; it counts how often each is mapped."""

    def __init__(self, *refs: int) -> None:
        self._memory = {ref: ctypes.create_string_buffer(PAGE_OCTETS) for ref in refs}
        self.mapped: list[int] = []
        self.is_mapped = False

    @property
    def addresses(self) -> list[int]:
        return [ctypes.addressof(memory) for memory in self._memory.values()]

    @contextmanager
    def map(self, ref: int) -> Iterator[int]:
        self.mapped.append(ref)
        self.is_mapped = True
        yield ctypes.addressof(self._memory[ref])
        self.is_mapped = False


@pytest.mark.parametrize("count", [1, 16, 1023, 1024, 2046, 2500])
def test_directory_that_was_built_is_walked_in_order(count: int) -> None:
    needed = -(-count // REFS_PER_PAGE)
    own_refs = list(range(7, 7 + needed))
    pages, refs = Pages(*own_refs), list(range(1000, 1000 + count))
    build_directory(pages.addresses, own_refs, refs)
    assert walk_directory(pages.map, 7, count) == refs
    assert pages.mapped == own_refs
    assert not pages.is_mapped


def test_directory_that_leads_back_to_itself_ends_like_any_other() -> None:
    pages = Pages(7)
    build_directory(pages.addresses, [7, 7], list(range(1, 1024)))
    assert len(walk_directory(pages.map, 7, 5000)) == 5000
    assert pages.mapped == [7] * 5


def test_directory_that_is_too_short_is_the_peers_fault() -> None:
    pages = Pages(7)
    build_directory(pages.addresses, [7], list(range(1023)))
    message = re.escape("page directory names 1023 pages, the buffer has 1024")
    with pytest.raises(RemoteProtocolError, match=message):
        walk_directory(pages.map, 7, 1024)


def test_no_directory_at_all_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="page directory names 0 pages"):
        walk_directory(Pages().map, 0, 1)


def test_page_that_cannot_be_mapped_is_left_to_the_caller() -> None:
    with pytest.raises(KeyError):
        walk_directory(Pages().map, 9, 1)
