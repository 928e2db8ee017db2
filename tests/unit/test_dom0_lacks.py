"""No descriptors, memory or grants are left, or XenStore refuses: who waits, and who does not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import pytest

from agent_dom0 import descriptors
from agent_dom0.access.dirwatch import new_inotify
from agent_dom0.agent import Agent, Settings
from agent_dom0.audio.mixer import Mixer
from agent_dom0.cards.rings import StreamLink
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.control.operations import About
from agent_dom0.engines.here import EngineHere
from agent_dom0.events import EventKind
from agent_dom0.parameters import MAX_STREAMS, Limits
from agent_dom0.supervisor.heartbeat import Heartbeat
from policy.model import Verb
from policy.paths import PolicyPaths
from tests.support.local_machine import LocalMachine
from tests.unit.fake_clock import later, run
from tests.unit.memory_store import MemoryStore
from tests.unit.test_dom0_device import PATH, Scene
from tests.unit.test_dom0_policy_state import ASK, Place, place
from tests.unit.test_dom0_registry import House, house
from xensnd.core import AudioClient, Engine
from xensnd.errors import LimitReached, TransportLost, UsageError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import Direction, StreamRings
from xensnd.transport.interface import EventChannel, EventFds, Pages, Store, Transport

__all__ = ["house", "place"]

LACKS = [
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.ENOSPC, "No space left on device"),  # a full grant table
    PermissionError(errno.EACCES, "Permission denied"),
    MemoryError("no memory"),
    LimitReached("9 playback streams, and the guest may have 8 (max-streams)"),
]


@contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """So many are left to this process, until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.dup(0)]  # the lowest free number
    while fillers[-1] < highest:
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


# One device


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_device_that_lacks_something_waits_longer_each_time_and_is_audited_once(
    lack: Exception,
) -> None:
    async def test() -> None:
        scene = Scene()
        scene.lack = lack
        device = scene.device()
        device.step()
        scene.store.publish(PATH)
        device.step()
        for _ in range(6):
            await later(30)
        assert scene.failures == [f"device 0: {lack}; it is tried again"]
        assert (scene.made, device.is_in_use) == ([], False)
        scene.lack = None
        await later(30)
        assert device.is_in_use
        assert scene.store.state(PATH) is XenbusState.CONNECTED

    run(test())


class Opened:
    """Pages or a channel, of which a Scarce transport counts what is not closed."""

    def __init__(self, transport: Scarce) -> None:
        self._transport = transport
        self._page = ctypes.create_string_buffer(2 * PAGE_OCTETS)
        self.address = (ctypes.addressof(self._page) + PAGE_OCTETS - 1) & ~(PAGE_OCTETS - 1)
        self.fds = EventFds(os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK))
        transport.open += 1

    def close(self) -> None:
        os.close(self.fds.wait_fd)
        os.close(self.fds.notify_fd)
        self._transport.open -= 1


class Scarce:
    """A transport whose Nth opening fails."""

    def __init__(self, fails_at: int, error: Exception) -> None:
        self.open = 0
        self._left = fails_at
        self._error = error

    def map_pages(self, _domid: int, _refs: Sequence[int], *, writable: bool) -> Pages:
        assert writable
        return cast(Pages, self._opened())

    def bind_channel(self, _domid: int, _port: int) -> EventChannel:
        return cast(EventChannel, self._opened())

    def _opened(self) -> Opened:
        self.spend()
        return Opened(self)

    def spend(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise self._error


OPENINGS = 5  # two pages, two channels and the saved state


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_stream_that_fails_at_its_nth_opening_leaves_nothing_open(
    tmp_path: Path, lack: Exception
) -> None:
    with closing(Engine()) as engine:

        def link(transport: Scarce) -> StreamLink:
            def open_saved() -> SavedState:
                transport.spend()
                return SavedState(tmp_path / "saved", "uuid", lambda: "work")

            return StreamLink(
                cast(Transport, transport),
                EngineHere(cast(Transport, transport), engine),
                7,
                Direction.PLAYBACK,
                StreamRings(1, 2, 3, 4),
                0,
                open_saved,
            )

        used = os.listdir("/proc/self/fd")
        for number in range(1, OPENINGS + 1):
            transport = Scarce(number, lack)
            with pytest.raises(type(lack)):
                link(transport)
            assert transport.open == 0
            assert os.listdir("/proc/self/fd") == used
        transport = Scarce(0, lack)
        link(transport).close(keep=False)
        assert transport.open == 0


# All guests


@pytest.mark.parametrize("lack", LACKS[:-1], ids=str)
def test_guest_that_cannot_be_read_keeps_no_other_waiting(house: House, lack: Exception) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.store.add_guest(8, "personal")
        house.store.broken["/local/domain/7/name"] = lack
        house.registry.use_store(cast(Store, house.store))
        assert house.texts(EventKind.DEVICE_MADE) == ["personal: device 0 made"]
        for _ in range(6):
            await later(60)
        assert house.texts(EventKind.DEVICE_FAILED) == [
            f"dom7: its identity: {lack}; it is tried again"
        ]
        house.store.broken.clear()
        await later(60)
        assert house.texts(EventKind.DEVICE_MADE)[1:] == ["work: device 0 made"]

    run(test())


def test_guest_whose_end_cannot_be_written_is_gone_and_its_card_follows(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.store.add_guest(8, "personal")
        house.registry.use_store(cast(Store, house.store))
        for domid in (7, 8):
            house.store.remove(f"/local/domain/{domid}")
        house.store.broken[f"{PATH.backend}/provisioned-by"] = PermissionError("refused")
        house.changed("@releaseDomain", "domains")
        assert house.registry.guests() == []
        assert PATH.backend in house.store.nodes
        house.store.broken.clear()
        await later(60)
        assert not [node for node in house.store.nodes if "/backend/vsnd" in node]

    run(test())


def test_share_of_a_guest_is_eight_streams_in_each_direction_or_what_a_rule_allows(
    house: House,
) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        (guest,) = house.registry.named("work")
        capture = Direction.CAPTURE
        guest.require_room([capture] * MAX_STREAMS + [Direction.PLAYBACK] * MAX_STREAMS)
        with pytest.raises(LimitReached, match=r"9 capture streams, .* may have 8 \(max-streams\)"):
            guest.require_room([capture] * (MAX_STREAMS + 1))
        house.place.use(ASK.replace("ask", "ask, max-streams: 12"))
        guest.require_room([capture] * 12)
        house.place.use(ASK.replace("ask", "ask, max-streams: 1"))  # so many may be open
        guest.require_room([capture] * MAX_STREAMS)

    run(test())


# The real thing


def test_streams_leave_the_reserve_to_all_else(house: House) -> None:
    async def test() -> None:
        house.store.add_guest(7, "work")
        house.registry.use_store(cast(Store, house.store))
        (guest,) = house.registry.named("work")
        card = [Direction.PLAYBACK, Direction.CAPTURE]
        needed = len(card) * descriptors.A_STREAM
        with few_descriptors(descriptors.RESERVED + needed):
            guest.require_room(card)
        with (
            few_descriptors(descriptors.RESERVED + needed // 2),
            pytest.raises(LimitReached, match=f"{needed} file descriptors are needed"),
        ):
            guest.require_room(card)

    run(test())


def test_policy_that_cannot_be_opened_denies_capture_and_is_read_when_it_can(place: Place) -> None:
    place.use(ASK.replace("ask", "allow"))
    with few_descriptors(0):
        place.policy.load()
        place.policy.load(is_routine=True)
        assert place.policy.lacks_resources
        assert place.verb() is Verb.DENY
    rejected = [e for e in place.trail.events if e.kind is EventKind.POLICY_REJECTED]
    (event,) = rejected
    assert "Too many open files" in event.text
    for _ in range(3):
        place.policy.load(is_routine=True)
    assert not place.policy.lacks_resources
    assert place.verb() is Verb.ALLOW
    assert place.trail.events[-1].kind is EventKind.POLICY_LOADED
    assert place.trail.events[-2] is event


def test_policy_with_a_mistake_is_not_read_again_by_itself(place: Place) -> None:
    place.use("version: 1\nrules: [7]\n")
    assert place.policy.problem is not None
    assert not place.policy.lacks_resources


def test_policy_for_which_no_memory_is_left_denies_capture(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.use(ASK.replace("ask", "allow"))

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("agent_dom0.access.policy_state.load", no_memory)
    place.policy.load()
    assert place.policy.lacks_resources
    assert place.verb() is Verb.DENY


@pytest.mark.parametrize("left", range(3))
def test_store_that_cannot_be_opened_is_lost_and_leaves_nothing_open(
    tmp_path: Path, left: int
) -> None:
    with LocalMachine(tmp_path / "xen") as machine:
        used = os.listdir("/proc/self/fd")
        with few_descriptors(left), pytest.raises(TransportLost, match="Too many open files"):
            machine.open_store()
        assert os.listdir("/proc/self/fd") == used


@pytest.mark.parametrize("left", range(9))
def test_mixer_without_descriptors_has_no_answer_and_tries_again(left: int, tmp_path: Path) -> None:
    async def test() -> None:
        mixer = Mixer(f"unix:{tmp_path}/nobody", lambda: None)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        with few_descriptors(left):
            mixer.find_default_source(answer.set_result)
            assert await answer is None
        mixer.close()

    asyncio.run(test())


def test_mixer_without_a_thread_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        mixer = Mixer(f"unix:{tmp_path}/nobody", lambda: None)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def no_thread(_thread: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", no_thread)
            mixer.find_default_source(answer.set_result)
        await later(30)
        assert await answer is None
        mixer.close()

    run(test())


def test_guests_client_without_descriptors_fails_and_ends_nothing(tmp_path: Path) -> None:
    with closing(Engine()) as engine:
        for left in range(9):
            with few_descriptors(left), suppress(MemoryError):
                AudioClient(engine, f"unix:{tmp_path}/nobody", {"application.name": "x"}).close()


# The agent


class Silent(Heartbeat):
    def __init__(self, reached: Callable[[], None]) -> None:
        self._reached = reached

    def ready(self) -> None:
        self._reached()

    def alive(self, doing: str) -> None:
        pass


class ReadableStore(MemoryStore):
    """With a descriptor, which is never readable."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = os.eventfd(0)
        self.lists = 0

    def fileno(self) -> int:
        return self._fd

    def list(self, path: str) -> list[str]:
        self.lists += 1
        if path in self.broken:
            raise self.broken[path]
        return super().list(path)


class OneStore:
    """A transport that opens this store each time."""

    domid = 0

    def __init__(self, store: ReadableStore, directory: Path) -> None:
        self.store = store
        self.runtime_directory = directory

    def open_store(self) -> Store:
        return cast(Store, self.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.store.fileno())


@pytest.mark.parametrize("lack", LACKS[:3], ids=str)
def test_agent_that_cannot_read_which_guests_run_connects_again(
    tmp_path: Path, place: Place, lack: Exception
) -> None:
    place.use(ASK)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    audit = tmp_path / "audit.jsonl"
    inotify = new_inotify()

    async def test() -> None:
        store = ReadableStore()
        with OneStore(store, directory) as transport:
            store.add_guest(7, "work")
            store.broken["/local/domain"] = lack
            is_ready = asyncio.Event()
            settings = Settings(
                transport=cast(Transport, transport),
                policy=PolicyPaths([place.directory], None),
                about=About("", "", f"unix:{tmp_path}/nobody"),
                audit=str(audit),
                inotify=inotify,
                limits=Limits(),
                control=directory / "control",
                control_group=None,
                ask_seconds=30,
            )
            running = asyncio.create_task(Agent(settings).run(Silent(is_ready.set)))
            await is_ready.wait()
            assert "store_lost" in audit.read_text()
            assert "device_made" not in audit.read_text()
            tries = store.lists
            async with asyncio.timeout(10):
                while store.lists < tries + 3:
                    await asyncio.sleep(0.01)
            assert audit.read_text().count("store_lost") == 1
            store.broken.clear()
            async with asyncio.timeout(10):
                while "device_made" not in audit.read_text():
                    await asyncio.sleep(0.01)
            assert "store_found" in audit.read_text()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(test())
    os.close(inotify)


def test_agent_says_what_to_raise_where_the_system_has_no_watch_left() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(UsageError) as refused:
            new_inotify()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "fs.inotify.max_user_instances" in str(refused.value)
    assert "Too many open files" in str(refused.value)
