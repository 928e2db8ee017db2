"""When a guest's two vchans are connected, ended, and connected again: with a XenStore in memory,
and without pages."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import pytest

from agent_dom0.events import EventKind, Priority
from agent_dom0.guest import RunningGuest
from agent_dom0.streams.budget import GuestBudget
from agent_dom0.streams.failures import RETRY_FIRST_SECONDS
from agent_dom0.streams.guest_device import GuestDevice
from agent_dom0.vchan.device import VchanDevice
from agent_dom0.vchan.link import VchanLink
from agent_dom0.vchan.saved_link import Offers, SavedLink
from agent_dom0.vchan.vchan_stream import VchanStream
from policy.model import Direction
from tests.unit.awaited_engine import AwaitedEngine
from tests.unit.fake_clock import later, run
from tests.unit.memory_store import MemoryStore
from xensnd.core import Violation
from xensnd.errors import RemoteProtocolError
from xensnd.transport.interface import Store
from xensnd.vchan.control import CONNECTED, ControlWord, GuestSound
from xensnd.vchan.nodes import VchanNodes, VchanOffer

DOMID = 7


class NoCore:
    violation = Violation.NONE

    def __init__(self) -> None:
        self.words: list[int] = []

    def next_word(self) -> int | None:
        return self.words[0] if self.words else None

    def drop_word(self) -> None:
        self.words.pop(0)


class NoSaved:
    sound: GuestSound = CONNECTED

    def __init__(self, offers: Offers | None = None) -> None:
        self.offers = offers

    def save(self, offers: Offers) -> None:
        self.offers = offers

    def load(self) -> Offers | None:
        return self.offers

    def answer(self, _direction: Direction) -> None:
        return None

    def close(self) -> None:
        pass

    def remove(self) -> None:
        self.offers = None


class NoLink:
    is_open = True
    succeeds: bool | None = None

    def __init__(self, offers: Offers, saved: NoSaved) -> None:
        self.offers, self.saved = offers, saved
        self.playback, self.capture = NoCore(), NoCore()
        self.is_closed = False

    def begin(self, *, succeeds: bool) -> None:
        self.succeeds = succeeds

    def close(self) -> None:
        self.is_closed = True


class NoVchanStream:
    def __init__(self) -> None:
        self.runs: bool | None = None
        self.limits: list[str] = []

    def follow(self, *, runs: bool) -> None:
        self.runs = runs

    def adopt(self, _answer: object, *, runs: bool) -> None:
        self.runs = runs

    def tell_limit(self, text: str) -> None:
        self.limits.append(text)

    def close(self) -> None:
        self.runs = None


class Scene(AwaitedEngine):
    """A guest, its device, and what was made for it."""

    is_quarantined = False
    most_streams = 64

    def __init__(self, saved: NoSaved | None = None) -> None:
        super().__init__()
        self.guest = RunningGuest(DOMID, "work", "uuid-7")
        self.devices: dict[str, GuestDevice] = {}
        self.budget = GuestBudget(self.audit)
        self.events: list[tuple[EventKind, str]] = []
        self.links: list[NoLink] = []
        self.made: dict[Direction, NoVchanStream] = {}
        self.fails: Exception | None = None
        self.on_connect: Callable[[], None] = lambda: None
        self.saved = saved
        self.store = MemoryStore()
        self.device = VchanDevice(cast(Store, self.store), 0, self, self, lambda work: work())

    # As the guest

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        yield

    def was_paused(self) -> bool:
        return False

    def require_room(self, added: Sequence[Direction]) -> None:
        assert list(added) == [Direction.PLAYBACK, Direction.CAPTURE]

    def audit(self, kind: EventKind, text: str, priority: Priority = Priority.INFO) -> None:
        assert priority is not Priority.ERROR
        self.events.append((kind, text))

    # As what makes a connection

    def open_saved(self) -> SavedLink:
        return cast(SavedLink, NoSaved())

    def find_saved(self) -> SavedLink | None:
        return cast(SavedLink | None, self.saved)

    def connect(self, offers: Offers, saved: SavedLink) -> VchanLink:
        self.on_connect()
        if self.fails is not None:
            raise self.fails
        self.links.append(NoLink(offers, cast(NoSaved, saved)))
        return cast(VchanLink, self.links[-1])

    def streams(self, _link: VchanLink) -> Mapping[Direction, VchanStream]:
        self.made = {direction: NoVchanStream() for direction in Direction}
        return cast(Mapping[Direction, VchanStream], self.made)

    # What the guest does

    def offer(self, number: int, ports: Sequence[int] = (4713, 4714)) -> None:
        self.write(number, ports)
        self.device.follow(1)

    def write(self, number: int, ports: Sequence[int] = (4713, 4714)) -> None:
        """XenStore does not tell of it yet."""
        for port in ports:
            nodes = VchanNodes(DOMID, 0, port)
            self.store.nodes[nodes.ring_ref] = str(number)
            self.store.nodes[nodes.event_channel] = str(number + 1)

    def withdraw(self) -> None:
        self.store.nodes.clear()
        self.device.follow(1)

    def texts(self, kind: EventKind) -> list[str]:
        return [text for each, text in self.events if each is kind]


def test_both_are_connected_once_the_engine_of_their_guest_runs() -> None:
    async def test() -> None:
        scene = Scene()
        scene.runs_engine = False
        scene.offer(8)
        assert not scene.device.is_in_use
        scene.let_engine_run()
        assert scene.device.is_in_use

    run(test())


def test_both_are_connected_once_both_are_offered_and_not_again_by_their_withdrawal() -> None:
    async def test() -> None:
        scene = Scene()
        scene.device.step()
        scene.offer(8, [4713])
        assert scene.links == []
        scene.offer(8)
        scene.device.step()  # the guest has not removed them yet
        scene.withdraw()
        (link,) = scene.links
        assert link.succeeds is False
        assert scene.devices == {"vchan": scene.device}
        assert scene.made[Direction.PLAYBACK].runs is True
        assert scene.made[Direction.CAPTURE].runs is False
        assert scene.texts(EventKind.DEVICE_CONNECTED) == ["device vchan connected"]

    run(test())


def test_same_numbers_are_a_new_offer_when_the_server_has_gone() -> None:
    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        scene.links[0].is_open = False
        scene.offer(8)
        assert [link.is_closed for link in scene.links] == [True, False]

    run(test())


def test_server_that_goes_ends_both_and_takes_the_device_away() -> None:
    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        scene.withdraw()
        scene.links[0].is_open = False
        scene.device.poll()
        assert scene.links[0].is_closed
        assert scene.devices == {}
        assert scene.texts(EventKind.DEVICE_DISCONNECTED) == ["device vchan disconnected"]

    run(test())


def test_control_words_are_followed_in_their_order() -> None:
    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        link = scene.links[0]
        link.capture.words = [0x00010004, ControlWord.SOURCE_START, ControlWord.SINK_CORK]
        scene.device.poll()
        assert link.capture.words == []
        assert link.saved.sound == GuestSound(plays=False, records=True)
        assert scene.made[Direction.PLAYBACK].runs is False
        assert scene.made[Direction.CAPTURE].runs is True

    run(test())


def test_guest_that_starts_its_source_endlessly_waits() -> None:
    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        words = scene.links[0].capture.words
        words += [ControlWord.SOURCE_START, ControlWord.SOURCE_STOP] * 1000
        scene.device.poll()
        left = len(words)
        assert 1900 < left < 2000
        assert scene.made[Direction.CAPTURE].limits == ["500 control words within a second"]
        await later(1.1)
        assert 1800 < len(words) < left

    run(test(), stands_still=True)


def test_lack_of_descriptors_is_audited_once_and_tried_again() -> None:
    async def test() -> None:
        scene = Scene()
        scene.fails = OSError(errno.EMFILE, "Too many open files")
        scene.offer(8)
        for _ in range(3):
            await later(10 * RETRY_FIRST_SECONDS)
        (text,) = scene.texts(EventKind.DEVICE_FAILED)
        assert text == "device vchan: [Errno 24] Too many open files; it is tried again"
        scene.fails = None
        await later(100 * RETRY_FIRST_SECONDS)
        assert len(scene.links) == 1

    run(test())


def test_offer_that_is_refused_is_tried_again_when_it_was_written_anew_and_after_a_while() -> None:
    async def test() -> None:
        scene = Scene()
        scene.fails = RemoteProtocolError("no such page")
        scene.offer(8)
        scene.device.step()
        text = "device vchan: no such page; it is closed"
        assert scene.texts(EventKind.PROTOCOL_VIOLATION) == [text]
        scene.fails = None
        scene.device.step()
        assert scene.links == []
        scene.offer(8)
        assert len(scene.links) == 1

        scene.fails = RemoteProtocolError("no such page")
        scene.offer(10)
        await later(3 * RETRY_FIRST_SECONDS)
        assert len(scene.links) == 1
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 2
        scene.fails = None
        await later(100 * RETRY_FIRST_SECONDS)
        assert len(scene.links) == 2

    run(test())


def test_offer_that_is_refused_is_told_once_however_often_xenstore_tells_of_it() -> None:
    """The node of each port is watched, and both may have been written when the first is read."""

    async def test() -> None:
        scene = Scene()
        scene.fails = RemoteProtocolError("no such page")
        scene.offer(8)
        scene.device.follow(1)
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 1
        scene.offer(10, [4713])  # beside the other port's old one
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 1
        scene.fails = RemoteProtocolError("no such channel")
        scene.offer(10, [4714])
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 2

    run(test())


def test_offer_of_which_some_is_of_the_one_before_is_read_again_at_once() -> None:
    async def test() -> None:
        scene = Scene()

        def write_anew() -> None:
            scene.on_connect = lambda: None
            scene.write(10)
            raise RemoteProtocolError("no such page")

        scene.on_connect = write_anew
        scene.write(10, [4714])
        scene.offer(8, [4713])
        (link,) = scene.links
        assert link.offers == {port: VchanOffer(10, 11) for port in (4713, 4714)}
        assert scene.texts(EventKind.PROTOCOL_VIOLATION) == []

    run(test())


def test_guest_that_writes_its_offer_anew_each_time_is_refused_after_the_second() -> None:
    async def test() -> None:
        scene = Scene()
        numbers = iter(range(10, 100, 2))

        def write_anew() -> None:
            scene.write(next(numbers))
            raise RemoteProtocolError("no such page")

        scene.on_connect = write_anew
        scene.offer(8)
        assert next(numbers) == 14
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 1

    run(test())


@pytest.mark.parametrize("number", [8, 10], ids=["with the same numbers", "with others"])
def test_offer_that_stands_there_when_the_guest_has_closed_it_is_no_offer(number: int) -> None:
    """The guest shares its pages no longer, and removes the nodes after that."""

    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        scene.links[0].is_open = False
        scene.fails = RemoteProtocolError("no such page")
        scene.device.poll()
        scene.device.step()
        assert not scene.device.is_in_use
        scene.fails = None
        scene.withdraw()
        scene.offer(number)
        assert [link.is_closed for link in scene.links] == [True, False]
        assert scene.texts(EventKind.PROTOCOL_VIOLATION) == []

    run(test())


def test_next_offer_that_is_refused_for_the_same_reason_is_told() -> None:
    async def test() -> None:
        scene = Scene()
        scene.fails = RemoteProtocolError("no such page")
        for count in (1, 2):
            scene.offer(8)
            assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == count
            scene.withdraw()
        scene.fails = None
        scene.offer(8)
        scene.fails = RemoteProtocolError("no such page")
        scene.offer(10)
        assert len(scene.texts(EventKind.PROTOCOL_VIOLATION)) == 3

    run(test())


def test_next_agent_goes_on_where_the_last_one_was() -> None:
    async def test() -> None:
        saved = NoSaved({4713: VchanOffer(8, 9), 4714: VchanOffer(8, 9)})
        saved.sound = GuestSound(plays=False, records=True)
        scene = Scene(saved)
        scene.device.step()
        assert scene.links[0].succeeds is True
        assert scene.made[Direction.PLAYBACK].runs is False
        assert scene.made[Direction.CAPTURE].runs is True
        assert scene.texts(EventKind.DEVICE_CONNECTED) == ["device vchan taken over"]

    run(test())


def test_next_agent_waits_for_an_offer_if_the_guest_has_given_up() -> None:
    async def test() -> None:
        saved = NoSaved({4713: VchanOffer(8, 9), 4714: VchanOffer(8, 9)})
        scene = Scene(saved)
        scene.fails = RemoteProtocolError("no such page")
        scene.device.step()
        assert saved.offers is None
        assert scene.events == []
        scene.fails = None
        scene.offer(8)
        assert scene.links[0].succeeds is False

    run(test())


def test_nothing_of_a_guest_in_quarantine_is_touched() -> None:
    async def test() -> None:
        scene = Scene()
        scene.is_quarantined = True
        scene.offer(8)
        assert scene.links == []
        scene.is_quarantined = False
        scene.device.step()
        assert len(scene.links) == 1

    run(test())


def test_violation_closes_both() -> None:
    async def test() -> None:
        scene = Scene()
        scene.offer(8)
        scene.links[0].capture.violation = Violation.STORM
        scene.device.poll()
        assert scene.links[0].is_closed
        assert scene.texts(EventKind.PROTOCOL_VIOLATION) == [
            "device vchan: 4714: too many notifications for too long; it is closed"
        ]

    run(test())
