"""A guest that writes its nodes in XenStore without end waits, and no other guest does."""

from __future__ import annotations

from typing import cast

import pytest

from agent_dom0.cards.device import DevicePath
from agent_dom0.events import EventKind
from agent_dom0.streams.throttle import QUIET_SECONDS, STORE_EVENTS_A_SECOND, WAIT_SECONDS
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_device import PATH, Scene
from tests.unit.test_dom0_policy_state import place
from tests.unit.test_dom0_registry import House, house
from xensnd.sndif.states import XenbusState
from xensnd.transport.interface import Store

__all__ = ["house", "place"]

HOSTILE, OTHER = DevicePath(0, 7, 0), DevicePath(0, 8, 0)
STORM = 10 * STORE_EVENTS_A_SECOND


@pytest.fixture
def store_house(house: House) -> House:
    """With two guests that have not connected yet."""
    house.store.add_guest(7, "hostile")
    house.store.add_guest(8, "other")
    return house


def begin(house: House) -> None:
    house.registry.use_store(cast(Store, house.store))
    assert len(house.texts(EventKind.DEVICE_MADE)) == 2
    house.store.reads.clear()


def write_state(house: House, path: DevicePath, times: int = 1) -> None:
    house.changed(f"{path.frontend}/state", path.backend, times)


def looks(house: House, path: DevicePath) -> int:
    """How often its frontend's state was read."""
    return house.store.reads[f"{path.frontend}/state"]


def is_watched(house: House, path: DevicePath) -> bool:
    return (f"{path.frontend}/state", path.backend) in house.store.watches


def test_many_events_about_one_device_are_one_step(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        write_state(store_house, HOSTILE, STORE_EVENTS_A_SECOND)
        assert looks(store_house, HOSTILE) == 1
        assert looks(store_house, OTHER) == 0
        assert is_watched(store_house, HOSTILE)

    run(test(), stands_still=True)


def test_guest_over_its_budget_is_not_watched_and_looked_at_once_a_second(
    store_house: House,
) -> None:
    async def test() -> None:
        begin(store_house)
        for waits in range(5):
            write_state(store_house, HOSTILE, STORM)
            write_state(store_house, HOSTILE, STORM)  # that were on their way
            assert not is_watched(store_house, HOSTILE)
            assert looks(store_house, HOSTILE) == waits
            await later(WAIT_SECONDS)
            assert is_watched(store_house, HOSTILE)
        assert looks(store_house, HOSTILE) == 5

    run(test(), stands_still=True)


def test_guest_over_its_budget_connects_when_it_has_waited() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        device.follow(STORM)
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        await later(WAIT_SECONDS)
        assert scene.store.state(PATH) is XenbusState.CONNECTED

    run(test(), stands_still=True)


def test_others_are_followed_at_once_while_a_guest_waits(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        write_state(store_house, HOSTILE, STORM)
        write_state(store_house, OTHER)
        assert (looks(store_house, HOSTILE), looks(store_house, OTHER)) == (0, 1)
        assert is_watched(store_house, OTHER)

    run(test(), stands_still=True)


def test_storm_is_audited_once_until_the_guest_was_quiet(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        for _ in range(5):
            write_state(store_house, HOSTILE, STORM)
            await later(WAIT_SECONDS)
        text = "hostile: more than 100 changes of its nodes in XenStore in a second; they wait"
        assert store_house.texts(EventKind.LIMIT_HIT) == [text]
        await later(QUIET_SECONDS)
        write_state(store_house, HOSTILE, STORM)
        assert store_house.texts(EventKind.LIMIT_HIT) == [text, text]

    run(test(), stands_still=True)


def test_device_that_goes_while_it_waits_is_not_looked_at_again(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        write_state(store_house, HOSTILE, STORM)
        store_house.store.remove(HOSTILE.backend)
        store_house.changed(HOSTILE.backend, "backend")
        store_house.store.reads.clear()
        await later(WAIT_SECONDS)
        assert looks(store_house, HOSTILE) == 0
        assert not is_watched(store_house, HOSTILE)

    run(test(), stands_still=True)


def test_state_that_we_write_ourselves_makes_nobody_else_be_read(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        store_house.changed(f"{HOSTILE.backend}/state", "backend")
        assert (looks(store_house, HOSTILE), looks(store_house, OTHER)) == (1, 0)
        store_house.changed(f"{HOSTILE.backend}/other", "backend")
        assert (looks(store_house, HOSTILE), looks(store_house, OTHER)) == (2, 0)

    run(test(), stands_still=True)


def test_card_that_is_offered_anew_costs_no_other_guest_a_look(store_house: House) -> None:
    async def test() -> None:
        begin(store_house)
        for node in ("feature-capture-in-place", "versions", "state"):  # as we write them
            store_house.changed(f"{HOSTILE.backend}/{node}", "backend")
        assert looks(store_house, HOSTILE) == 3
        assert looks(store_house, OTHER) == 0
        assert store_house.store.reads["/local/domain/8/name"] == 0

    run(test(), stands_still=True)
