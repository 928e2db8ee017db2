"""The page directory that lists a PCM buffer's pages: sndif.h, "gref_directory"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ..errors import RemoteProtocolError
from ..sndif.layout import DIRECTORY_REFS
from ._core import ffi, lib


def walk_directory(
    map_page: Callable[[int], AbstractContextManager[int]], first_ref: int, page_count: int
) -> list[int]:
    """Return the references of a frontend's buffer, in order.

    `map_page` maps one page of the frontend for reading and yields its address. At most
    ceil(page_count / 1023) pages are read, so a directory that leads back to itself ends like any
    other. RemoteProtocolError: the directory names too few pages.
    """
    refs: list[int] = []
    untrusted_next = first_ref
    while len(refs) < page_count:
        if untrusted_next == 0:
            raise RemoteProtocolError(
                f"page directory names {len(refs)} pages, the buffer has {page_count}"
            )
        wanted = min(page_count - len(refs), DIRECTORY_REFS)
        words = ffi.new("uint32_t[]", wanted)
        following = ffi.new("uint32_t *")
        with map_page(untrusted_next) as address:
            lib.xn_directory_read(ffi.cast("void *", address), wanted, words, following)
        refs.extend(words)
        untrusted_next = following[0]
    return refs


def build_directory(addresses: Sequence[int], own_refs: Sequence[int], refs: Sequence[int]) -> None:
    """Write the references of a buffer into directory pages of our own.

    `addresses` and `own_refs` name the directory pages, one for each 1023 references.
    """
    for index, address in enumerate(addresses):
        part = refs[index * DIRECTORY_REFS : (index + 1) * DIRECTORY_REFS]
        following = own_refs[index + 1] if index + 1 < len(own_refs) else 0
        words = ffi.new("uint32_t[]", list(part))
        lib.xn_directory_write(ffi.cast("void *", address), words, len(part), following)
