"""Whatever a guest writes of its vchans decodes, or raises RemoteProtocolError."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from tests.support.vchan_page import ring_pages, vchan_page
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.vchan.control import GuestSound
from xensnd.vchan.nodes import parse_offer
from xensnd.vchan.page import ORDERS, Ring, parse_page

U32 = st.integers(0, 2**32 - 1)
ORDER = st.integers(0, 2**16 - 1) | st.sampled_from(ORDERS)


def in_page(ring: Ring) -> set[int]:
    """The octets of the page in which a ring lies."""
    return set() if ring.refs else set(range(ring.offset, ring.offset + ring.octets))


@given(ORDER, ORDER, st.binary(min_size=PAGE_OCTETS - 24, max_size=PAGE_OCTETS - 24))
def test_a_page_is_refused_or_its_rings_are_whole_and_apart(
    left: int, right: int, rest: bytes
) -> None:
    octets = vchan_page(left, right)[:24] + rest
    with contextlib.suppress(RemoteProtocolError):
        page = parse_page(octets)
        for ring in (page.left, page.right):
            assert ring.octets == 1 << ring.order
            assert len(ring.refs) == ring_pages(ring.order)
            assert all(each < PAGE_OCTETS for each in in_page(ring))
        refs_end = 24 + 4 * (len(page.left.refs) + len(page.right.refs))
        header = set(range(refs_end))
        assert not in_page(page.left) & in_page(page.right)
        assert not header & (in_page(page.left) | in_page(page.right))


@given(st.binary(max_size=PAGE_OCTETS + 1))
def test_octets_of_any_length_are_a_page_or_refused(octets: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse_page(octets)


@given(st.lists(U32))
def test_any_words_leave_a_state(words: list[int]) -> None:
    sound = GuestSound(plays=True, records=False)
    for word in words:
        sound = sound.after(word)
        assert sound.after(word) == sound  # once more changes nothing


@given(st.text() | st.none(), st.text() | st.none())
def test_any_nodes_are_an_offer_none_or_refused(
    ring_ref: str | None, event_channel: str | None
) -> None:
    with contextlib.suppress(RemoteProtocolError):
        offer = parse_offer(ring_ref, event_channel)
        assert offer is None or (offer.ring_ref > 0 and offer.event_channel > 0)
