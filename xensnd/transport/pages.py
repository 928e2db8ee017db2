"""Pages of another domain that are mapped, wherever they came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.interface import Pages


class MappedPages(Pages):
    """`end` unmaps them, and is called once."""

    def __init__(self, address: int, refs: Sequence[int], end: Callable[[], object]) -> None:
        self._address = address
        self._refs = refs
        self._end = end
        self._octets = len(refs) * PAGE_OCTETS

    @property
    def address(self) -> int:
        return self._address

    @property
    def octets(self) -> int:
        return self._octets

    @property
    def refs(self) -> Sequence[int]:
        return self._refs

    def close(self) -> None:
        if self._octets:
            self._octets = 0
            self._end()
