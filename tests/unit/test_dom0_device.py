"""Cards when something fails: it ends one device, is audited, and is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import pytest

from agent_dom0.cards.card_stream import CardStream
from agent_dom0.cards.device import WITHDRAW_SECONDS, Device, DevicePath
from agent_dom0.cards.toolstack import make_device
from agent_dom0.events import Event, EventKind, Priority
from agent_dom0.guest import RunningGuest
from agent_dom0.streams.budget import GuestBudget
from agent_dom0.streams.closures import FORGOTTEN_SECONDS, FREE_CLOSURES
from agent_dom0.streams.guest_device import GuestDevice
from agent_dom0.streams.throttle import (
    CONNECTIONS_AT_ONCE,
    REQUESTS_A_SECOND,
    WAIT_SECONDS,
)
from tests.unit.awaited_engine import AwaitedEngine
from tests.unit.fake_clock import later, run
from tests.unit.memory_store import MemoryStore
from tests.unit.test_dom0_policy_state import place
from xensnd.core import OPEN_COUNTS_AS
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import Close, Open, Request, encode_request
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store

__all__ = ["place"]

WORK = RunningGuest(7, "work", "uuid-7")
PATH = DevicePath(0, 7, 0)


class NoStream:
    """In the place of a stream, which asks for nothing."""

    def __init__(self, name: str, rings: StreamRings) -> None:
        self.name = name
        self.rings = rings
        self.ends: list[str] = []
        self.limits: list[str] = []
        self.error: Exception | None = None
        self.packet: bytes | None = None  # the request that always waits
        self.answers = 0

    def begin(self, *, adopt: bool) -> None:
        pass

    def next_request(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.packet

    def answer(self, _packet: bytes) -> None:
        self.answers += 1

    def tell_limit(self, text: str) -> None:
        self.limits.append(text)

    def close(self) -> None:
        self.ends.append("closed")

    def hand_over(self) -> None:
        self.ends.append("left")


class Scene(AwaitedEngine):
    """A device of a guest, whose streams are made while `room` is there for them."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.guest = WORK
        self.devices: dict[str, GuestDevice] = {}
        self.budget = GuestBudget(self.audit)
        self.lack: Exception | None = None
        self.paused = False  # by the engine
        self.is_quarantined = False
        self.is_served = False
        self.times_served = 0
        self.events: list[Event] = []
        self.room = 2
        self.refused = 0
        self.made: list[NoStream] = []
        self.recent: Mapping[str, str] | None = None
        self.left_open = ""
        make_device(cast(Store, self.store), PATH)

    def device(self) -> Device:
        return Device(cast(Store, self.store), PATH, self, self, lambda work: work())

    @contextmanager
    def serving(self) -> Iterator[None]:
        self.is_served = True
        self.times_served += 1
        yield
        self.is_served = False

    most_streams = 64

    def require_room(self, added: Sequence[Direction]) -> None:
        assert len(added) == 2
        if self.lack is not None:
            raise self.lack

    def was_paused(self) -> bool:
        paused, self.paused = self.paused, False
        return paused

    def audit(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None:
        self.events.append(Event(kind, text, priority))

    @property
    def failures(self) -> list[str]:
        return self.texts(EventKind.DEVICE_FAILED)

    def texts(self, kind: EventKind) -> list[str]:
        return [event.text for event in self.events if event.kind is kind]

    def recent_nodes(self) -> Mapping[str, str] | None:
        return self.recent

    def is_left_open(self, stream: str) -> bool:
        return stream == self.left_open

    def stream(self, name: str, _config: StreamConfig, rings: StreamRings) -> CardStream:
        if self.room == 0:
            self.refused += 1
            raise OSError(24, f"Too many open files: {self.refused}")
        assert self.is_served
        self.room -= 1
        self.made.append(NoStream(name, rings))
        return cast(CardStream, self.made[-1])


def test_card_without_room_for_its_streams_is_audited_once_and_tried_until_there_is() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.room = 1
        scene.store.publish(PATH)
        device.step()
        assert scene.failures == ["device 0: [Errno 24] Too many open files: 1; it is tried again"]
        assert scene.made[0].ends == ["closed"]
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        await later(10)
        assert not device.is_in_use
        assert scene.refused > 1
        scene.room = 2
        await later(10)
        assert device.is_in_use
        assert scene.store.state(PATH) is XenbusState.CONNECTED
        assert len(scene.failures) == 1

    run(test())


def test_card_whose_engine_starts_waits_for_it_and_then_connects() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.runs_engine = False
        scene.store.publish(PATH)
        device.step()
        assert not device.is_in_use
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        scene.let_engine_run()
        assert device.is_in_use
        assert scene.store.state(PATH) is XenbusState.CONNECTED

    run(test())


def test_card_that_cannot_be_taken_over_yet_is_left_as_it_is_until_it_can() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.publish(PATH)
        scene.store.enter(PATH, XenbusState.CONNECTED)
        scene.store.nodes[f"{PATH.backend}/state"] = str(int(XenbusState.CONNECTED))
        device = scene.device()
        scene.room = 1
        device.step()
        assert len(scene.failures) == 1
        assert scene.made[0].ends == ["left"]
        assert scene.store.state(PATH) is XenbusState.CONNECTED
        scene.room = 2
        await later(1)
        assert device.is_in_use
        assert [event.text for event in scene.events][1:] == ["device 0 taken over"]

    run(test())


def test_error_of_a_card_in_use_closes_it() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        device.step()
        scene.store.enter(PATH, XenbusState.CONNECTED)
        device.step()
        scene.made[0].error = OSError(12, "Cannot allocate memory")
        device.poll()
        assert [stream.ends for stream in scene.made] == [["closed"], ["closed"]]
        assert scene.store.state(PATH) is XenbusState.CLOSED
        assert scene.failures == ["device 0: [Errno 12] Cannot allocate memory; it is tried again"]

    run(test())


def test_guest_that_the_engine_does_not_listen_to_is_told_of_once() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        device.step()
        scene.paused = True
        device.poll()
        device.poll()
        text = "more requests than the guest's budget allows; all its streams wait"
        assert [stream.limits for stream in scene.made] == [[text], []]

    run(test())


def connect_again(scene: Scene, device: Device) -> bool:
    """Its driver is loaded anew. Returns whether it is served now."""
    scene.room = 2
    scene.store.enter(PATH, XenbusState.CLOSED)
    device.step()
    scene.store.enter(PATH, XenbusState.INITIALISED)
    device.step()
    if device.is_in_use:
        scene.store.enter(PATH, XenbusState.CONNECTED)
        device.step()
    return device.is_in_use


def test_guest_that_connects_again_and_again_waits_and_is_told_of_once() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        for _ in range(CONNECTIONS_AT_ONCE):
            assert connect_again(scene, device)
        assert scene.texts(EventKind.LIMIT_HIT) == []
        assert not connect_again(scene, device)
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        await later(WAIT_SECONDS)
        assert device.is_in_use
        assert not connect_again(scene, device)
        assert scene.texts(EventKind.LIMIT_HIT) == [
            "more than 8 connections of its cards, and than 1 a second; the next ones wait"
        ]
        assert scene.texts(EventKind.PROTOCOL_VIOLATION) == []

    run(test(), stands_still=True)


def test_driver_that_is_loaded_again_each_second_never_waits() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        for _ in range(5 * CONNECTIONS_AT_ONCE):
            assert connect_again(scene, device)
            await later(1)
        assert scene.texts(EventKind.LIMIT_HIT) == []

    run(test(), stands_still=True)


def test_guest_that_is_closed_for_what_it_does_again_and_again_stays_closed_for_longer() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)

        def violate() -> str:
            """Returns what is told of it."""
            assert device.is_in_use
            scene.made[-1].error = RemoteProtocolError("no request")
            device.poll()
            assert scene.store.state(PATH) is XenbusState.CLOSED
            return scene.texts(EventKind.PROTOCOL_VIOLATION)[-1]

        for _ in range(FREE_CLOSURES):
            await later(1)
            assert connect_again(scene, device)
            assert violate() == "device 0: no request; the device is closed"
        await later(1)
        assert connect_again(scene, device)
        for seconds in (2, 4, 8, 16, 32, 64, 128, 128):
            assert violate() == f"device 0: no request; the device is closed for {seconds} s"
            assert not connect_again(scene, device)
            await later(seconds - 0.5)
            assert scene.store.state(PATH) is XenbusState.INIT_WAIT
            await later(0.5 + WAIT_SECONDS)
        violate()
        await later(FORGOTTEN_SECONDS)
        assert connect_again(scene, device)
        assert violate() == "device 0: no request; the device is closed"
        assert scene.texts(EventKind.LIMIT_HIT) == []

    run(test(), stands_still=True)


def test_card_that_goes_while_it_waits_is_not_connected() -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        while connect_again(scene, device):
            pass
        made = len(scene.made)
        device.close(forget=True)
        await later(WAIT_SECONDS)
        assert len(scene.made) == made

    run(test(), stands_still=True)


@pytest.mark.parametrize(
    ("request_", "answered"),
    [
        (Open(48000, SampleFormat.S16_LE, 2, 4096, 1024, 1), REQUESTS_A_SECOND // OPEN_COUNTS_AS),
        (Close(), REQUESTS_A_SECOND),
    ],
)
def test_guest_is_answered_so_many_requests_a_second(request_: Request, answered: int) -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        device.step()
        stream = scene.made[0]
        stream.packet = encode_request(1, request_)
        for _ in range(2 * REQUESTS_A_SECOND):
            device.poll()
        assert stream.answers == answered
        assert "500 requests within a second; an OPEN counts as 20" in stream.limits[0]
        await later(WAIT_SECONDS)
        assert stream.answers == answered + 1  # the engine says when the next one waits

    run(test(), stands_still=True)


def test_store_that_refuses_ends_nothing_but_this_card() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.refused.add(PATH.backend)
        device = scene.device()
        device.step()
        assert len(scene.failures) == 1
        assert "Permission denied" in scene.failures[0]
        scene.store.refused.clear()
        await later(1)
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT

    run(test())


# Quarantine


def connected_scene() -> Scene:
    """A card that an agent before left connected."""
    scene = Scene()
    scene.store.publish(PATH)
    scene.store.enter(PATH, XenbusState.CONNECTED)
    scene.store.nodes[f"{PATH.backend}/state"] = str(int(XenbusState.CONNECTED))
    return scene


def test_stream_that_was_left_open_is_taken_over_before_the_others() -> None:
    scene = connected_scene()
    scene.left_open = "0/1"
    device = scene.device()
    device.step()
    assert [stream.name for stream in scene.made] == ["0/1", "0/0"]
    assert [stream.name for stream in device.streams] == ["0/0", "0/1"]


def test_card_is_taken_over_by_what_was_read_of_it_a_moment_ago() -> None:
    scene = connected_scene()
    scene.recent = read_card_nodes(cast(Store, scene.store), PATH.frontend)
    for name in scene.recent:
        if name.startswith("0/"):
            scene.store.nodes.pop(f"{PATH.frontend}/{name}", None)
    device = scene.device()
    device.step()
    assert [stream.name for stream in device.streams] == ["0/0", "0/1"]


def test_card_of_a_guest_in_quarantine_stays_as_it_is_and_is_taken_over_when_that_ends() -> None:
    async def test() -> None:
        scene = connected_scene()
        scene.is_quarantined = True
        device = scene.device()
        device.step()
        for state in (XenbusState.CLOSING, XenbusState.INITIALISING, XenbusState.CONNECTED):
            scene.store.enter(PATH, state)
            device.step()
        assert (scene.made, scene.events) == ([], [])
        assert scene.store.state(PATH) is XenbusState.CONNECTED
        assert device.status()["state"] == "quarantined"
        scene.is_quarantined = False
        device.step()
        assert [event.text for event in scene.events] == ["device 0 taken over"]
        assert scene.store.state(PATH) is XenbusState.CONNECTED

    run(test())


def test_guest_in_quarantine_is_offered_a_new_card_and_no_more() -> None:
    async def test() -> None:
        scene = Scene()
        scene.is_quarantined = True
        device = scene.device()
        device.step()
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        scene.store.publish(PATH)
        device.step()
        assert scene.made == []
        assert scene.store.state(PATH) is XenbusState.INIT_WAIT
        scene.is_quarantined = False
        device.step()
        assert device.is_in_use
        assert scene.store.state(PATH) is XenbusState.CONNECTED

    run(test())


def test_toolstack_gets_a_card_in_quarantine_back_once_players_had_time_to_close_it() -> None:
    async def test() -> None:
        scene = connected_scene()
        scene.is_quarantined = True
        device = scene.device()
        device.step()
        scene.store.nodes[f"{PATH.backend}/state"] = str(int(XenbusState.CLOSING))
        device.step()
        assert scene.store.state(PATH) is XenbusState.CLOSING
        await later(WITHDRAW_SECONDS - 0.5)
        assert scene.store.state(PATH) is XenbusState.CLOSING
        await later(0.5)
        assert scene.store.state(PATH) is XenbusState.CLOSED

    run(test())


def test_toolstack_gets_it_back_at_once_if_its_frontend_is_gone() -> None:
    async def test() -> None:
        scene = connected_scene()
        scene.is_quarantined = True
        scene.store.enter(PATH, XenbusState.CLOSED)
        scene.store.nodes[f"{PATH.backend}/state"] = str(int(XenbusState.CLOSING))
        scene.device().step()
        assert scene.store.state(PATH) is XenbusState.CLOSED

    run(test())


# Closed


def waiting_for_nodes(scene: Scene) -> None:
    scene.store.publish(PATH)
    del scene.store.nodes[f"{PATH.frontend}/0/0/{StreamRings.NODES[0]}"]


def withdrawn_in_quarantine(scene: Scene) -> None:
    scene.store.publish(PATH)
    scene.store.enter(PATH, XenbusState.CONNECTED)
    scene.store.nodes[f"{PATH.backend}/state"] = str(int(XenbusState.CLOSING))
    scene.is_quarantined = True


@pytest.mark.parametrize("forget", [True, False])
@pytest.mark.parametrize("waiting", [waiting_for_nodes, withdrawn_in_quarantine])
def test_nothing_is_done_for_a_card_that_was_closed_while_it_waited(
    waiting: Callable[[Scene], None], forget: bool
) -> None:
    async def test() -> None:
        scene = Scene()
        device = scene.device()
        device.step()
        waiting(scene)
        device.step()
        device.close(forget=forget)
        before = scene.times_served
        await later(WITHDRAW_SECONDS + 1)
        assert scene.times_served == before

    run(test())
