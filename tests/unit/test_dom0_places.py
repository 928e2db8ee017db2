"""How places for streams at the audio server are given to guests."""

from __future__ import annotations

import asyncio

from agent_dom0.audio.places import PLACES, Places
from xensnd.sndif.store_fields import Direction

PLAYBACK, CAPTURE = Direction


class Hall:
    """Places, of which streams are named by numbers and guests by letters."""

    def __init__(self, guests: str) -> None:
        self.places = Places()
        self.called: list[int] = []
        for guest in guests:
            self.places.add_guest(guest)

    def takes(self, stream: int, guest: str, direction: Direction = PLAYBACK) -> bool:
        return self.places.take(direction, stream, guest, lambda: self.called.append(stream))

    def take_all(self, guest: str) -> list[int]:
        """As many as one guest gets."""
        return [stream for stream in range(PLACES + 1) if self.takes(stream, guest)]


def test_one_guest_gets_all_places_and_no_more() -> None:
    hall = Hall("a")
    assert hall.take_all("a") == list(range(PLACES))
    assert hall.places.taken(PLAYBACK) == PLACES
    assert hall.places.waits(PLAYBACK, PLACES)
    assert not hall.places.waits(PLAYBACK, 0)


def test_each_direction_has_places_of_its_own() -> None:
    hall = Hall("a")
    hall.take_all("a")
    assert hall.takes(0, "a", CAPTURE)


def test_one_place_is_kept_for_each_guest_that_has_none() -> None:
    hall = Hall("abc")
    assert len(hall.take_all("a")) == PLACES - 2
    assert hall.takes(1000, "b")
    assert not hall.takes(1001, "b")
    assert hall.takes(1002, "c")
    assert not hall.takes(1003, "c")


def test_stream_that_has_a_place_keeps_it_when_it_asks_again() -> None:
    hall = Hall("a")
    hall.take_all("a")
    assert hall.takes(0, "a")
    assert hall.places.taken(PLAYBACK) == PLACES


def test_those_that_wait_are_called_in_their_order_when_a_place_is_free() -> None:
    async def test() -> None:
        hall = Hall("a")
        for stream in range(PLACES):
            assert hall.takes(stream, "a")
        assert not hall.takes(1000, "a")
        assert not hall.takes(1001, "a")
        hall.places.give_back(PLAYBACK, 0)
        await asyncio.sleep(0)
        assert hall.called == [1000, 1001]  # neither has taken it meanwhile
        assert hall.takes(1000, "a")
        assert not hall.takes(1001, "a")

    asyncio.run(test())


def test_stream_that_waits_no_more_is_not_called() -> None:
    async def test() -> None:
        hall = Hall("a")
        for stream in range(PLACES):
            hall.takes(stream, "a")
        hall.takes(1000, "a")
        hall.places.give_back(PLAYBACK, 1000)
        hall.places.give_back(PLAYBACK, 0)
        await asyncio.sleep(0)
        assert hall.called == []

    asyncio.run(test())


def test_place_of_a_guest_that_has_gone_is_kept_no_longer() -> None:
    async def test() -> None:
        hall = Hall("ab")
        hall.take_all("a")
        assert hall.places.waits(PLAYBACK, PLACES - 1)
        hall.places.remove_guest("b")
        await asyncio.sleep(0)
        assert PLACES - 1 in hall.called
        assert hall.takes(PLACES - 1, "a")

    asyncio.run(test())
