"""Which guests share a connection to the audio server. There is no server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.audio.connections import OWN_MAX, SHARED_MAX, Connection, Connections
from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.guest_volume import VolumeFile
from agent_dom0.audio.mixer import Mixer
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from xensnd.core import AudioClient, Engine
from xensnd.sndif.store_fields import Direction

SHARED = slice(OWN_MAX, None)


class Member:
    """A guest that stays whatever happens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: list[AudioClient] = []
        self.losses: list[str] = []

    def properties(self) -> dict[str, str]:
        return {"application.name": self.name}

    def connected(self, client: AudioClient) -> None:
        self.clients.append(client)

    def lost(self, why: str) -> None:
        self.losses.append(why)

    def poll(self) -> None:
        pass


@contextmanager
def connections_to(path: Path) -> Iterator[Connections]:
    engine = Engine()
    try:
        yield Connections(partial(AudioClient, engine), f"unix:{path}/nobody")
    finally:
        engine.close()


def with_members(
    path: Path, count: int, work: Callable[[Connections, list[Member], list[Connection]], None]
) -> None:
    """Do the work with so many that have joined; then all leave."""

    async def test() -> None:
        with connections_to(path) as connections:
            members = [Member(str(number)) for number in range(count)]
            joined = [connections.join(member) for member in members]
            try:
                work(connections, members, joined)
            finally:
                for member, connection in zip(members, joined, strict=True):
                    if member in connection.members:
                        connections.leave(member, connection)

    asyncio.run(test())


def test_first_guests_have_a_connection_of_their_own_and_the_others_share(tmp_path: Path) -> None:
    def check(connections: Connections, _: list[Member], joined: list[Connection]) -> None:
        assert len(set(joined[:OWN_MAX])) == OWN_MAX
        assert not any(each.is_shared for each in joined[:OWN_MAX])
        assert all(each.is_shared for each in joined[SHARED])
        assert connections.status()["connections"] == OWN_MAX + SHARED_MAX

    with_members(tmp_path, 200, check)


def test_guests_are_spread_evenly_over_the_shared_connections(tmp_path: Path) -> None:
    def check(_: Connections, __: list[Member], joined: list[Connection]) -> None:
        sizes = {len(each.members) for each in joined[SHARED]}
        assert max(sizes) - min(sizes) <= 1

    with_members(tmp_path, 200, check)


def test_connection_goes_with_its_last_guest_and_another_gets_one_of_its_own(
    tmp_path: Path,
) -> None:
    def check(connections: Connections, members: list[Member], joined: list[Connection]) -> None:
        connections.leave(members[0], joined[0])
        assert connections.status()["connections"] == OWN_MAX
        next_one = Member("next")
        connection = connections.join(next_one)
        assert not connection.is_shared
        connections.leave(next_one, connection)

    with_members(tmp_path, OWN_MAX + 1, check)


def test_all_on_a_connection_hear_that_it_was_lost_and_get_another(tmp_path: Path) -> None:
    async def test() -> None:
        with connections_to(tmp_path) as connections:
            members = [Member(str(number)) for number in range(OWN_MAX + SHARED_MAX + 1)]
            joined = [connections.join(member) for member in members]
            one, other = members[OWN_MAX], members[-1]
            assert joined[OWN_MAX] is joined[-1]
            for _ in range(200):
                joined[-1].poll()
                if len(other.clients) > 1:
                    break
                await asyncio.sleep(0.01)
            assert one.losses[0] == other.losses[0] == "Connection refused"
            assert one.clients == other.clients
            assert not members[0].losses  # nobody has polled that one
            for member, connection in zip(members, joined, strict=True):
                connections.leave(member, connection)

    asyncio.run(test())


class Silent:
    """A voice that waits for the server."""

    direction = Direction.PLAYBACK
    audio_error = None
    audio_is_ready = False

    def __init__(self) -> None:
        self.clients: list[AudioClient] = []

    def attach(self, client: AudioClient) -> None:
        self.clients.append(client)

    def detach(self) -> None: ...
    def poll(self) -> None: ...
    def tell_limit(self, text: str) -> None: ...


def test_guest_that_is_expected_to_sound_is_connected_before_it_does(tmp_path: Path) -> None:
    async def test() -> None:
        with connections_to(tmp_path) as connections:
            guest = RunningGuest(1, "work")
            file = VolumeFile(tmp_path / "volume", "")
            mixer = Mixer(None, lambda: None)
            client = GuestClient(connections, mixer, guest, cast(GuestTrail, None), file)
            client.expect()
            assert connections.status()["connections"] == 1
            voice = Silent()
            client.join(voice)
            assert len(voice.clients) == 1
            assert connections.status()["connections"] == 1
            client.close()
            mixer.close()
            assert connections.status()["connections"] == 0

    asyncio.run(test())


def test_guest_whose_connection_cannot_be_made_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> AudioClient:
        raise MemoryError

    def check(connections: Connections, _: list[Member], __: list[Connection]) -> None:
        member = Member("late")
        with monkeypatch.context() as patch:
            patch.setattr(connections, "_new_client", no_memory)
            connection = connections.join(member)
        assert member.clients == []
        assert member.losses == ["no memory or file descriptors are left for a connection"]
        connections.leave(member, connection)

    with_members(tmp_path, 0, check)
