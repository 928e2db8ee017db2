"""The agent's connections to the audio server, which guests share when there are many of them.

PulseAudio, and PipeWire in its place, accept 64 connections from all programs together. So the
agent makes OWN_MAX + SHARED_MAX at most, and dom0's mixer and the person's programs have the rest.
A connection of its own keeps a guest apart from the others, and mixers show it as one application.
In a shared one each stream has its guest's name, icon and volume.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Protocol

from agent_dom0.audio.places import PLACES, Places
from xensnd.backoff import BackOff
from xensnd.core import AudioClient, ClientState
from xensnd.errors import LocalProtocolError
from xensnd.sndif.store_fields import Direction

OWN_MAX = 16
SHARED_MAX = 8

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0

SHARED_PROPERTIES: Mapping[str, str] = {
    "application.name": "Xen guests",
    "application.id": "xensnd.guests",
    "application.icon_name": "computer",
}


NewClient = Callable[[str | None, Mapping[str, str]], AudioClient]  # of an engine


class Member(Protocol):
    """A guest on a connection: GuestClient."""

    def properties(self) -> Mapping[str, str]: ...
    def connected(self, client: AudioClient, /) -> None:
        """Use this from now on: it connects."""

    def lost(self, why: str, /) -> None:
        """Free what was on the client, which is closed. If the guest stays, connected() follows."""

    def poll(self) -> None: ...


class Connection:
    """One connection, for as long as it has members. When it is lost, it is made again with a
    growing delay. `properties` None: those of its only member."""

    def __init__(
        self, new_client: NewClient, server: str | None, properties: Mapping[str, str] | None
    ) -> None:
        self.members: list[Member] = []
        self._new_client = new_client
        self._server = server
        self._properties = properties
        self._client: AudioClient | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._tried = 0.0  # when, in the loop's time
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)

    @property
    def is_shared(self) -> bool:
        return self._properties is not None

    def join(self, member: Member) -> None:
        self.members.append(member)
        if self._client is not None:
            member.connected(self._client)
        elif self._retry is None:
            self._connect()

    def leave(self, member: Member) -> None:
        """The member has freed its streams."""
        self.members.remove(member)
        if not self.members:
            self._cancel_retry()
            self._close()

    def poll(self) -> None:
        """Something happened in the engine."""
        if self._client is None:
            return
        if self._client.state is ClientState.FAILED:
            self._lose(self._client.error)
        elif self._client.state is ClientState.READY:
            self._back_off.reset()

    def retry_sooner(self) -> None:
        """Connect soon for a sound that begins now, but not before the first delay is over."""
        if self._retry is None:
            return
        self._retry.cancel()
        loop = asyncio.get_running_loop()
        when = max(loop.time(), self._tried + RETRY_FIRST_SECONDS)
        self._retry = loop.call_at(when, self._connect)

    def _connect(self) -> None:
        self._retry = None
        loop = asyncio.get_running_loop()
        self._tried = loop.time()
        properties = self._properties or self.members[0].properties()
        try:
            self._client = self._new_client(self._server, properties)
        except (MemoryError, OSError):  # or no file descriptors
            self._lose("no memory or file descriptors are left for a connection")
            return
        for member in list(self.members):
            member.connected(self._client)
        # libpulse may have failed at once, before the callback was set.
        loop.call_soon(self._poll_members)

    def _poll_members(self) -> None:
        for member in list(self.members):
            member.poll()

    def _lose(self, why: str) -> None:
        for member in list(self.members):
            member.lost(why)
        self._close()
        if self.members and self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(self._back_off.next_seconds(), self._connect)

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


def _no_client(_server: str | None, _properties: Mapping[str, str]) -> AudioClient:
    raise LocalProtocolError("a connection of no engine")


class Connections:
    """All connections to one audio server, and the places for streams there. `new_client` is of
    the engine that serves all guests; None: each guest has an engine of its own."""

    def __init__(self, new_client: NewClient | None, server: str | None) -> None:
        self.server = server
        self.places = Places()
        self._new_client = new_client or _no_client
        self._is_apart = new_client is None
        self._connections: list[Connection] = []  # in both cases those of all guests

    def of_engine(self, new_client: NewClient) -> Connections:
        """Return those of a guest with this engine. If it is a process of its own, no other guest
        can share its connection."""
        if not self._is_apart:
            return self
        connections = copy.copy(self)  # with the same places, and the same list
        connections._new_client = new_client
        return connections

    def status(self) -> dict[str, int]:
        """Return what is used of the limits, and the limits."""
        return {
            "connections": len(self._connections),
            "connections_max": OWN_MAX + SHARED_MAX,
            "playback_streams": self.places.taken(Direction.PLAYBACK),
            "capture_streams": self.places.taken(Direction.CAPTURE),
            "streams_max": PLACES,
        }

    def join(self, member: Member) -> Connection:
        """Return the member's connection, which calls its connected(), now or later."""
        connection = self._connection_for_one_more()
        connection.join(member)
        return connection

    def leave(self, member: Member, connection: Connection) -> None:
        connection.leave(member)
        if not connection.members:
            self._connections.remove(connection)

    def _connection_for_one_more(self) -> Connection:
        """Return a new one while there may be more; then the shared one with the fewest guests."""
        shared = [each for each in self._connections if each.is_shared]
        if self._is_apart or len(self._connections) - len(shared) < OWN_MAX:
            connection = Connection(self._new_client, self.server, None)
        elif len(shared) < SHARED_MAX:
            connection = Connection(self._new_client, self.server, SHARED_PROPERTIES)
        else:
            return min(shared, key=lambda each: len(each.members))
        self._connections.append(connection)
        return connection
