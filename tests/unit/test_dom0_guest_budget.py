"""How much of the usual budget a guest has, as the rules say."""

from __future__ import annotations

from typing import cast

import pytest

from agent_dom0.engines.here import EngineHere
from agent_dom0.streams.throttle import REQUESTS_A_SECOND
from tests.unit.fake_clock import run
from tests.unit.test_dom0_policy_state import place
from tests.unit.test_dom0_registry import House, house
from xensnd.transport.interface import Store

__all__ = ["house", "place"]


def use(house: House, playback: str = "", capture: str = "") -> int:
    """Return how many requests the guest may send in a second with these limits of its rules."""
    house.place.use(
        "version: 1\nrules:\n"
        f"  - {{guest: work, playback: allow{playback}}}\n"
        f"  - {{guest: work, capture: allow{capture}}}\n"
    )
    house.registry.decide()
    return house.registry.named("work")[0].budget.requests.at_once


def test_rules_raise_and_lower_a_guests_budget_and_the_lower_of_two_holds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []  # the engine
    monkeypatch.setattr(EngineHere, "set_budget", lambda _engine, percent: told.append(percent))

    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        assert use(house) == REQUESTS_A_SECOND
        assert use(house, playback=", budget: 200%") == 2 * REQUESTS_A_SECOND
        assert use(house, ", budget: 200%", ", budget: 50%") == REQUESTS_A_SECOND // 2
        assert use(house, capture=", budget: 50%") == REQUESTS_A_SECOND // 2
        assert told == [200, 50]

    run(test())


def test_guest_has_the_budget_of_the_last_good_policy(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        use(house, capture=", budget: 50%")
        house.place.use("no policy")
        house.registry.decide()
        assert house.registry.named("work")[0].budget_percent == 50

    run(test())


def test_guest_that_comes_has_what_its_rule_says_at_once(house: House) -> None:
    async def test() -> None:
        house.registry.use_store(cast(Store, house.store))
        house.place.use("version: 1\nrules:\n  - {guest: work, playback: allow, budget: 10%}\n")
        house.store.add_guest(7, "work")
        house.changed("@introduceDomain", "domains")
        assert house.registry.named("work")[0].budget.store_events.at_once == 10

    run(test())
