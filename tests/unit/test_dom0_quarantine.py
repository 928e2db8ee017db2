"""Whom the agent served when it died, and who is served no more for that."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.events import EventKind
from agent_dom0.streams.quarantine import (
    FIRST_SECONDS,
    FORGOTTEN_SECONDS,
    LONGEST_SECONDS,
    Quarantine,
)
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_device import PATH
from tests.unit.test_dom0_policy_state import Place, place
from tests.unit.test_dom0_registry import House
from xensnd.errors import TransportLost, UsageError
from xensnd.sndif.states import XenbusState
from xensnd.transport.interface import Store

__all__ = ["place"]


class Agents:
    """One after the other, and what they know of a guest. Each lives for a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0

    def begin(self) -> Quarantine:
        return Quarantine(self.path, lambda: self.now)

    def die(self) -> None:
        """While it serves the guest."""
        quarantine = self.begin()
        self.now += 1
        quarantine.serving().__enter__()

    def die_in_core(self) -> None:
        quarantine = self.begin()
        ctypes.c_uint32.from_address(quarantine.core_address).value = 1


@pytest.fixture
def agents(tmp_path: Path) -> Agents:
    return Agents(tmp_path / "guests" / "uuid-7")


def test_guest_that_nobody_died_of_is_served(agents: Agents) -> None:
    agents.begin().close()
    quarantine = agents.begin()
    assert (quarantine.died_with_agent, quarantine.deaths, quarantine.is_on) == (False, 0, False)


def test_one_death_while_it_is_served_is_no_reason_and_two_are(agents: Agents) -> None:
    agents.die()
    assert (agents.begin().died_with_agent, agents.begin().died_with_agent) == (True, False)
    assert agents.begin().is_on is False
    agents.die_in_core()
    quarantine = agents.begin()
    assert (quarantine.died_with_agent, quarantine.deaths, quarantine.is_on) == (True, 2, True)
    assert quarantine.seconds_left == FIRST_SECONDS


def test_death_after_it_was_served_is_not_counted(agents: Agents) -> None:
    for _ in range(3):
        quarantine = agents.begin()
        with quarantine.serving():
            pass
        with pytest.raises(TransportLost), quarantine.serving():
            raise TransportLost("expected, so the agent goes on")
    assert agents.begin().deaths == 0


def test_death_of_an_exception_that_nobody_expected_is_counted(agents: Agents) -> None:
    with pytest.raises(ZeroDivisionError), agents.begin().serving():
        raise ZeroDivisionError
    assert agents.begin().died_with_agent


def test_quarantine_ends_by_itself_and_each_is_twice_as_long_up_to_a_day(agents: Agents) -> None:
    agents.die()
    for seconds in (60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 30720, 61440, 86400, 86400):
        agents.die()
        assert agents.begin().seconds_left == seconds
        agents.now += seconds - 1
        assert agents.begin().is_on
        agents.now += 1
        assert not agents.begin().is_on
    assert seconds == LONGEST_SECONDS


def test_deaths_are_forgotten_after_an_hour_without_one(agents: Agents) -> None:
    agents.die()
    agents.begin()
    agents.now += FORGOTTEN_SECONDS + 1
    agents.die()
    assert agents.begin().deaths == 1
    agents.die()
    agents.now += agents.begin().seconds_left + FORGOTTEN_SECONDS + 1
    agents.die()
    assert agents.begin().deaths == 1


def test_person_lifts_it_and_deaths_begin_to_count_anew(agents: Agents) -> None:
    agents.die()
    agents.die()
    agents.begin().lift()
    assert not agents.begin().is_on
    agents.die()
    assert not agents.begin().is_on


def test_guest_that_is_started_anew_does_not_get_out_of_it(agents: Agents) -> None:
    agents.die()
    agents.die()
    agents.begin().close(forget=True)
    assert agents.begin().is_on


def test_nothing_is_left_of_a_guest_that_is_gone_and_did_no_harm(agents: Agents) -> None:
    agents.begin().close(forget=True)
    assert not agents.path.exists()


@pytest.mark.parametrize("octets", [b"", b"\0" * 8 + b"x" * 100, b"x" * 8])
def test_file_that_is_no_good_says_nothing_of_quarantine(agents: Agents, octets: bytes) -> None:
    agents.path.parent.mkdir()
    agents.path.write_bytes(octets)
    assert not agents.begin().is_on


def test_guest_without_a_file_is_served(tmp_path: Path) -> None:
    (tmp_path / "guests").write_text("in the way")
    quarantine = Quarantine(tmp_path / "guests" / "uuid-7")
    with quarantine.serving():
        assert quarantine.core_address
    quarantine.close(forget=True)


# All guests


@pytest.fixture
def house(place: Place) -> Iterator[House]:
    """Where two agents died while they served the first of two guests."""
    agents = Agents(place.directory.parent / "guests" / "uuid-7")
    agents.now = time.monotonic()
    agents.die()
    made = House(place)
    yield made
    made.registry.close(is_renewed=False)
    made.engine.close()


def die_once_more(place: Place) -> None:
    quarantine = Quarantine(place.directory.parent / "guests" / "uuid-7")
    quarantine.serving().__enter__()


def enter(house: House) -> None:
    house.store.add_guest(7, "evil")
    house.store.add_guest(8, "work")
    house.registry.use_store(cast(Store, house.store))


def seconds(house: House) -> list[float | None]:
    return [each["quarantine_seconds"] for each in house.registry.status()]


def test_guest_that_one_agent_died_of_is_told_of_and_served(house: House) -> None:
    async def test() -> None:
        enter(house)
        assert house.texts(EventKind.DIED_SERVING) == [
            "evil: an agent died while it served this guest"
        ]
        assert seconds(house) == [None, None]
        assert len(house.texts(EventKind.DEVICE_MADE)) == 2
        with pytest.raises(UsageError, match="'nobody'"):
            house.registry.release("nobody", "uid 0")
        assert house.registry.release("evil", "uid 0") == 0

    run(test())


def test_guest_that_two_agents_died_of_waits_for_its_card_and_no_other_does(
    house: House, place: Place
) -> None:
    async def test() -> None:
        die_once_more(place)
        enter(house)
        assert house.texts(EventKind.GUEST_QUARANTINED) == [
            "evil: what served this guest died 2 times; it is not served for 60 s"
        ]
        assert house.texts(EventKind.DEVICE_MADE) == ["work: device 0 made"]
        left, other = seconds(house)
        assert left is not None
        assert FIRST_SECONDS - 5 < left <= FIRST_SECONDS
        assert other is None
        await later(FIRST_SECONDS)
        assert seconds(house) == [None, None]
        assert house.texts(EventKind.GUEST_RELEASED) == ["evil: is served again"]
        assert house.store.state(PATH) is XenbusState.INIT_WAIT

    run(test())


def test_person_releases_it_and_is_named(house: House, place: Place) -> None:
    async def test() -> None:
        die_once_more(place)
        enter(house)
        assert house.registry.release("evil", "uid 0, process 9") == 1
        (event,) = [e for e in place.trail.events if e.kind is EventKind.GUEST_RELEASED]
        assert event.fields["XENSND_BY"] == "uid 0, process 9"
        assert house.store.state(PATH) is XenbusState.INIT_WAIT
        await later(FIRST_SECONDS)
        assert len(house.texts(EventKind.GUEST_RELEASED)) == 1

    run(test())


def test_guest_that_goes_while_it_is_in_quarantine_is_released_no_more(
    house: House, place: Place
) -> None:
    async def test() -> None:
        die_once_more(place)
        enter(house)
        house.store.remove("/local/domain/7")
        house.changed("@releaseDomain", "domains")
        await later(FIRST_SECONDS)
        assert house.texts(EventKind.GUEST_RELEASED) == []

    run(test())
