"""A peer that writes anything into the shared pages between our calls.

Neither end of the ring or of the event page gives anything but what its header says, counts other
than it should, or looks outside the page: that has fences on both sides.
"""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.core_c.model_library import PAGE_OCTETS, fenced_page, ffi, library

EPROTO, EAGAIN = -errno.EPROTO, -errno.EAGAIN
RING_SLOTS, EVENT_SLOTS, DIRECTORY_REFS = 32, 63, 1023

near = st.integers(-70, 70)
words = st.one_of(
    st.integers(0, 2**32 - 1), near.map(lambda word: word % 2**32), near.map(lambda w: w + 2**31)
)
scribbles = st.lists(st.tuples(st.integers(0, 7), words), max_size=2)
"""Words of the page's header and what is written there."""

starts = st.one_of(st.just(0), words)


def scripts(*actions: str) -> st.SearchStrategy[list[tuple[str, list[tuple[int, int]]]]]:
    return st.lists(st.tuples(st.sampled_from(actions), scribbles), max_size=60)


class Page:
    """A shared page, all its words `start`."""

    def __init__(self, start: int) -> None:
        self.pointer = fenced_page().last(PAGE_OCTETS)
        self.words = ffi.cast("uint32_t *", self.pointer)
        for index in range(PAGE_OCTETS // 4):
            self.words[index] = start

    def scribble(self, changes: list[tuple[int, int]]) -> None:
        for index, word in changes:
            self.words[index] = word


@settings(max_examples=150)
@given(starts, scripts("take", "take", "answer", "ask"))
@example(0, [("take", [(0, 5)])] * 5 + [("take", [(0, 3)])])
def test_scribbled_ring_gives_a_backend_the_next_request_none_or_a_violation(
    start: int, script: list[tuple[str, list[tuple[int, int]]]]
) -> None:
    lib, page, packet = library(), Page(start), ffi.new("struct xn_packet *")
    ring: Any = ffi.new("struct xn_backend_ring *")
    lib.xn_backend_ring_attach(ring, page.pointer)
    taken = answered = start
    for action, changes in script:
        page.scribble(changes)
        if action == "take":
            claimed = (page.words[0] - answered) % 2**32
            result = lib.xn_backend_ring_take(ring, packet)
            outstanding = (taken - answered) % 2**32
            assert result == (0 if claimed == outstanding else _allowed(claimed, outstanding))
            taken += result == 1
        elif action == "answer" and taken != answered:
            lib.xn_backend_ring_answer(ring, packet)
            answered += 1
            assert page.words[2] == answered % 2**32
        elif action == "ask":
            asked = lib.xn_backend_ring_ask(ring)
            assert asked == (page.words[0] != taken % 2**32)
            assert page.words[1] == (taken + 1) % 2**32
        assert (ring.req_cons, ring.rsp_prod) == (taken % 2**32, answered % 2**32)


def _allowed(claimed: int, outstanding: int) -> int:
    """Of `claimed` requests since the last answer, `outstanding` were taken: one more, or not."""
    return 1 if outstanding < claimed <= RING_SLOTS else EPROTO


@settings(max_examples=150)
@given(scripts("request", "request", "take"))
def test_scribbled_ring_gives_a_frontend_the_next_response_none_or_a_violation(
    script: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    lib, page, packet = library(), Page(0), ffi.new("struct xn_packet *")
    ring: Any = ffi.new("struct xn_frontend_ring *")
    lib.xn_frontend_ring_attach(ring, page.pointer)
    asked = heard = 0
    for action, changes in script:
        page.scribble(changes)
        if action == "request":
            full = asked - heard == RING_SLOTS
            result = lib.xn_frontend_ring_request(ring, packet)
            wanted = page.words[1] == (asked + 1) % 2**32
            assert result == (EAGAIN if full else wanted)
            asked += not full
            assert full or page.words[0] == asked
        else:
            claimed = (page.words[2] - heard) % 2**32
            result = lib.xn_frontend_ring_take(ring, packet, True)
            assert result == (0 if claimed == 0 else 1 if claimed <= asked - heard else EPROTO)
            heard += result == 1
        assert lib.xn_frontend_ring_free_slots(ring) == RING_SLOTS - (asked - heard)


@settings(max_examples=150)
@given(starts, scripts("tell"))
def test_scribbled_event_page_takes_the_next_event_or_is_full(
    start: int, script: list[tuple[str, list[tuple[int, int]]]]
) -> None:
    lib, page = library(), Page(start)
    writer: Any = ffi.new("struct xn_event_writer *")
    lib.xn_event_writer_attach(writer, page.pointer)
    told = start
    for _, changes in script:
        page.scribble(changes)
        full = (told - page.words[0]) % 2**32 >= EVENT_SLOTS
        assert lib.xn_event_writer_position(writer, told) == (EAGAIN if full else 0)
        if not full:
            slot = ffi.cast("uint16_t *", page.pointer + 64 + told % 2**32 % EVENT_SLOTS * 64)
            assert slot[0] == told % 2**16
            told += 1
            assert page.words[1] == told % 2**32
        assert writer.in_prod == told % 2**32


@settings(max_examples=150)
@given(starts, scripts("take"))
def test_scribbled_event_page_gives_the_next_event_none_or_a_violation(
    start: int, script: list[tuple[str, list[tuple[int, int]]]]
) -> None:
    lib, page, packet = library(), Page(start), ffi.new("struct xn_packet *")
    reader: Any = ffi.new("struct xn_event_reader *")
    lib.xn_event_reader_attach(reader, page.pointer)
    taken = start
    for _, changes in script:
        page.scribble(changes)
        claimed = (page.words[1] - taken) % 2**32
        result = lib.xn_event_reader_take(reader, packet)
        assert result == (0 if claimed == 0 else 1 if claimed <= EVENT_SLOTS else EPROTO)
        taken += result == 1
        assert reader.in_cons == taken % 2**32


@given(words, words)
def test_directory_is_read_to_the_end_of_its_page_at_most(content: int, wanted: int) -> None:
    lib, page = library(), Page(content)
    refs, following = ffi.new("uint32_t[]", DIRECTORY_REFS), ffi.new("uint32_t *")
    count = lib.xn_directory_read(page.pointer, wanted, refs, following)
    assert count == min(wanted, DIRECTORY_REFS)
    assert following[0] == content
    assert list(refs) == [content] * count + [0] * (DIRECTORY_REFS - count)
