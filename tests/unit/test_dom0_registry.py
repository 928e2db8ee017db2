"""The guests that run: their cards, their names, and what fails for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.access.prompts import Prompts
from agent_dom0.audio.connections import Connections
from agent_dom0.audio.mixer import Mixer
from agent_dom0.cards.device import Device, DevicePath
from agent_dom0.cards.factory import CardFactory
from agent_dom0.cards.front import CardFront
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.engines.here import EngineHere
from agent_dom0.events import EventKind
from agent_dom0.guest import RunningGuest
from agent_dom0.parameters import Limits
from agent_dom0.registry import Registry
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.served_guest import ServedGuest
from tests.unit.fake_clock import later, run
from tests.unit.memory_store import MemoryStore
from tests.unit.test_dom0_policy_state import ASK, Place, place
from xensnd.core import AudioClient, Engine
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Store, Transport, WatchEvent

__all__ = ["place"]

WORK = RunningGuest(7, "work", "uuid-7")


class Host:
    """A transport, of which only this is asked for."""

    domid = 0

    def __init__(self, directory: Path) -> None:
        self.runtime_directory = directory


class House:
    """Guests in XenStore, and a registry that follows it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = MemoryStore()
        self.engine = Engine()
        place.use(ASK)
        transport = cast(Transport, Host(place.directory.parent))
        factory = Factory(
            transport,
            lambda _domid: EngineHere(transport, self.engine),
            Connections(partial(AudioClient, self.engine), None),
            Mixer(None, lambda: None),
            place.policy,
            cast(Prompts, None),
            place.audit,
            Limits(),
            lambda work: work(),
        )
        fronts = [partial(CardFront, policy=place.policy, factory=CardFactory(factory))]
        self.registry = Registry(0, factory, fronts, place.policy, place.queue)

    def changed(self, path: str, token: str, times: int = 1) -> None:
        self.store.fired.append(WatchEvent(path, token, times))
        self.registry.follow_store(cast(Store, self.store))

    def rename(self, domid: int, name: str) -> None:
        self.store.nodes[f"/local/domain/{domid}/name"] = name
        self.changed(f"/local/domain/{domid}/name", f"name:{domid}")

    def texts(self, kind: EventKind) -> list[str]:
        return [event.text for event in self.place.trail.events if event.kind is kind]


@pytest.fixture
def house(place: Place) -> Iterator[House]:
    made = House(place)
    yield made
    made.registry.close(is_renewed=False)
    made.engine.close()


def test_guest_whose_card_cannot_be_made_keeps_no_other_from_its_own(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.store.add_guest(8, "personal")
        house.store.refused.add("/local/domain/7/")
        house.registry.use_store(cast(Store, house.store))
        assert house.texts(EventKind.DEVICE_MADE) == ["personal: device 0 made"]
        (failure,) = house.texts(EventKind.DEVICE_FAILED)
        assert failure.startswith("work: its card: [Errno 13] Permission denied")
        house.registry.provision()
        assert len(house.texts(EventKind.DEVICE_FAILED)) == 1
        house.store.refused.clear()
        await later(3)
        assert house.texts(EventKind.DEVICE_MADE)[1:] == ["work: device 0 made"]

    run(test())


def test_guest_that_is_renamed_goes_on_under_its_new_name(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        house.place.queue.reasons.clear()
        house.rename(7, "untrusted")
        (guest,) = house.registry.guests()
        assert guest == replace(WORK, name="untrusted")
        assert house.place.queue.reasons == ["a guest has another name"]
        (event,) = [e for e in house.place.trail.events if e.kind is EventKind.GUEST_RENAMED]
        assert event.text == "untrusted: renamed, was work"
        assert event.fields["XENSND_OLD_NAME"] == "work"
        assert len(house.texts(EventKind.DEVICE_MADE)) == 1

    run(test())


def test_guests_of_one_name_share_it_until_one_of_them_is_renamed(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.store.add_guest(8, "personal")
        house.registry.use_store(cast(Store, house.store))
        house.rename(8, "work")
        assert [each["shares_name"] for each in house.registry.status()] == [True, True]
        assert len(house.texts(EventKind.NAME_SHARED)) == 2
        assert [each.guest.domid for each in house.registry.named("work")] == [7, 8]
        house.place.queue.reasons.clear()
        house.rename(8, "personal")
        assert [each["shares_name"] for each in house.registry.status()] == [False, False]
        assert house.place.queue.reasons
        assert len(house.texts(EventKind.NAME_SHARED)) == 2

    run(test())


@pytest.mark.parametrize("change", ["comes", "goes", "is renamed", "gets a card"])
def test_others_are_not_read_again_when_a_guest(house: House, change: str) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.store.add_guest(8, "personal")
        house.registry.use_store(cast(Store, house.store))
        card = DevicePath(0, 8, 1)
        house.store.reads.clear()
        match change:
            case "comes":
                house.store.add_guest(9, "mail")
                house.changed("@introduceDomain", "domains")
            case "goes":
                house.store.remove("/local/domain/8")
                house.changed("@releaseDomain", "domains")
            case "is renamed":
                house.rename(8, "vault")
            case "gets a card":
                house.store.nodes[f"{card.backend}/state"] = "1"
                house.changed(f"{card.backend}/state", "backend")
        guests = [guest.name for guest in house.registry.guests()]
        devices = [len(guest["devices"]) for guest in house.registry.status()]
        assert (guests, devices) == {
            "comes": (["work", "personal", "mail"], [1, 1, 1]),
            "goes": (["work"], [1]),
            "is renamed": (["work", "vault"], [1, 1]),
            "gets a card": (["work", "personal"], [1, 2]),
        }[change]
        first = [path for path in house.store.reads if "/7/" in path]
        assert first == []

    run(test())


def test_guest_that_got_its_name_late_is_served_then(house: House) -> None:
    async def test() -> None:
        house.registry.use_store(cast(Store, house.store))
        house.store.nodes["/local/domain/7/vm"] = "/vm/uuid-7"
        house.changed("@introduceDomain", "domains")
        assert house.registry.guests() == []
        house.rename(7, "work")
        assert house.registry.guests() == [WORK]

    run(test())


def test_stubdomain_is_its_targets_as_soon_as_that_has_its_name(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work.partial")
        house.store.add_guest(8, "work-dm")
        house.store.nodes["/local/domain/8/target"] = "7"
        house.registry.use_store(cast(Store, house.store))
        assert house.registry.guests()[1].target is None
        house.rename(7, "work")
        assert [guest.name for guest in house.registry.guests()] == ["work", "work"]
        assert house.registry.guests()[1].target == 7
        house.rename(7, "personal")
        assert house.registry.guests()[1].target is None

    run(test())


def test_other_guest_of_the_same_number_is_another_one(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        house.registry.named("work")[0].set_volume(Direction.PLAYBACK, percent=30)
        house.store.nodes["/local/domain/7/vm"] = "/vm/another"
        house.rename(7, "work")
        (guest,) = house.registry.guests()
        assert guest.uuid == "another"
        assert house.texts(EventKind.GUEST_RENAMED) == []
        assert len(house.texts(EventKind.DEVICE_MADE)) == 2

    run(test())


def test_guests_that_were_left_with_open_streams_are_connected_before_the_first_is_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that had none open."""
    notes: list[str] = []
    for begin in (ServedGuest.start_engine, ServedGuest.expect_sound):
        monkeypatch.setattr(
            ServedGuest,
            begin.__name__,
            lambda guest, name=begin.__name__: notes.append(f"{name} of {guest.guest.name}"),
        )
    monkeypatch.setattr(Device, "step", lambda _: notes.append("step"))
    directory = house.place.directory.parent / "streams"
    for domid, name in ((7, "work"), (8, "idle"), (9, "mail")):
        house.store.add_guest(domid, name)
        saved = SavedState(directory / f"{domid}-0-0-0", "", lambda: "")
        saved.save(Open(48000, SampleFormat.S16_LE, 2, 4096, 0, 1), running=True)
        if name == "idle":
            saved.clear()
        saved.close()

    async def test() -> None:
        house.registry.use_store(cast(Store, house.store))

    run(test())
    assert notes[: notes.index("step")] == [
        "start_engine of work",
        "start_engine of mail",
        "expect_sound of work",
        "expect_sound of mail",
    ]


class NotedDevice:
    """Notes what it was asked, among others."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    def close_denied_gates(self) -> None:
        self._notes.append(f"gates of {self._name}")

    def decide(self) -> None:
        self._notes.append(f"decide {self._name}")


def test_gates_of_all_guests_are_closed_before_the_first_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    devices = [NotedDevice(name, notes) for name in ("work", "mail")]
    monkeypatch.setattr(Registry, "_devices", lambda _: devices)
    monkeypatch.setattr(Registry, "served", lambda _: [])
    Registry.decide(object.__new__(Registry))
    assert notes == ["gates of work", "gates of mail", "decide work", "decide mail"]
