"""The guest's sound card: finds it in XenStore, and negotiates with the backend. One process at a
time is the frontend of a card.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from agent_guest.pcm import BackendBroken, Pcm
from xensnd.core import Engine
from xensnd.errors import RemoteProtocolError, TransportLost, UsageError, XensndError
from xensnd.lock import only_one
from xensnd.sndif.states import FRONTEND_TABLE, FrontendAction, XenbusState, parse_state
from xensnd.sndif.store_fields import CAPTURE_IN_PLACE, CardConfig, Direction, parse_card
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store, Transport

CARD_TIMEOUT_SECONDS = 5.0
HANDSHAKE_TIMEOUT_SECONDS = 10.0
DEVICES = "device/vsnd"
# What XenStore raises where the toolstack has removed the card's nodes.
_TAKEN_AWAY = (KeyError, PermissionError)
_TAKEN_AWAY_TEXT = "this guest's sound card was taken away"


class NoCardError(UsageError):
    """dom0 has given this guest no sound card, or not yet."""


class Card:
    """`async with Card(...) as card:` is connected until the block ends, and then closed."""

    def __init__(
        self, transport: Transport, engine: Engine, also_poll: Callable[[], None] | None = None
    ) -> None:
        """`also_poll` is called, too, when the engine has something to decide."""
        self._transport = transport
        self._engine = engine
        self._also_poll = also_poll
        self._store: Store | None = None
        self._lock = -1
        self._device = ""
        self._backend = ""
        self._backend_domid = 0
        self._state = XenbusState.INITIALISING
        self._changed = asyncio.Event()
        self.config = CardConfig(pcms=())
        self.streams: list[Pcm] = []
        self.lost = asyncio.Event()
        """Set when the connection has ended. The streams cannot be used any more."""
        self.why_lost: XensndError = TransportLost("dom0 has left")

    async def __aenter__(self) -> Card:
        loop = asyncio.get_running_loop()
        self._lock = only_one(
            self._transport.runtime_directory / "frontend.lock",
            "this guest's sound card is in use by another xensnd-guest; stop that one first, "
            "or use the audio server that it serves",
        )
        try:
            self._store = store = self._transport.open_store()
            loop.add_reader(store.fileno(), self._on_store)
            loop.add_reader(self._engine.fileno(), self._on_engine)
            store.watch(DEVICES, "devices")
            await self._connect(store)
        except _TAKEN_AWAY:
            await self._release()
            raise TransportLost(_TAKEN_AWAY_TEXT) from None
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(TransportLost, *_TAKEN_AWAY):
            await self._leave()
        await self._release()

    def stream(self, direction: Direction) -> Pcm:
        """Returns the first stream of this direction. UsageError: the card has none."""
        for pcm in self.streams:
            if pcm.config.direction is direction:
                return pcm
        raise UsageError(f"this guest's sound card has no {direction} stream")

    # The device

    async def _connect(self, store: Store) -> None:
        try:
            await self._find_device(store)
            await self._negotiate(store)
        except RemoteProtocolError:
            store.read(f"{self._device}/state")  # KeyError: it was only being removed
            raise

    async def _find_device(self, store: Store) -> None:
        devices: list[int] = []

        def are_there() -> bool:
            with contextlib.suppress(KeyError):
                devices[:] = sorted(int(name) for name in store.list(DEVICES) if name.isdigit())
            return bool(devices)

        if not await self._await(are_there, CARD_TIMEOUT_SECONDS):
            raise NoCardError(
                "this guest has no sound card; in dom0, check that xensnd-dom0 runs and that "
                "its policy allows this guest to play or record: xensnd-policy explain GUEST"
            )
        self._device = f"{DEVICES}/{devices[0]}"
        try:
            self._backend = store.read(f"{self._device}/backend")
            self._backend_domid = int(store.read(f"{self._device}/backend-id"))
        except (KeyError, ValueError):
            raise RemoteProtocolError(f"{self._device} does not name a backend") from None
        store.watch(f"{self._backend}/state", "backend")

    # The handshake

    async def _negotiate(self, store: Store) -> None:
        await self._reset(store)
        deadline = asyncio.get_running_loop().time() + HANDSHAKE_TIMEOUT_SECONDS
        while True:
            self._changed.clear()
            self._step(store)
            if self._state is XenbusState.CONNECTED:
                return
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0 or not await _is_set_within(self._changed, remaining):
                raise TransportLost(
                    f"the backend stays in state {self._backend_state(store).name}; "
                    "is xensnd-dom0 running in dom0?"
                )

    async def _reset(self, store: Store) -> None:
        """Ends the connection that another frontend left open, and goes to Initialising."""
        with contextlib.suppress(KeyError, RemoteProtocolError):
            self._state = parse_state(store.read(f"{self._device}/state"))
        backend = self._backend_state(store)
        is_left = self._state in (
            XenbusState.INITIALISED,
            XenbusState.CONNECTED,
            XenbusState.CLOSING,
        )
        # A backend that has connected does not offer again to a frontend in Initialising.
        if is_left or backend is XenbusState.CONNECTED:
            self._enter(store, XenbusState.CLOSING)
            left = await self._await(
                lambda: self._backend_state(store) is not XenbusState.CONNECTED,
                HANDSHAKE_TIMEOUT_SECONDS,
            )
            backend = self._backend_state(store) if left else backend
        if backend is XenbusState.CLOSED:
            self._enter(store, XenbusState.CLOSED)
            await self._await(
                lambda: self._backend_state(store) is not XenbusState.CLOSED,
                HANDSHAKE_TIMEOUT_SECONDS,
            )
        self._enter(store, XenbusState.INITIALISING)

    def _step(self, store: Store) -> None:
        self._require_same(store)
        backend = self._backend_state(store)
        action, state = FRONTEND_TABLE[self._state, backend]
        if action is FrontendAction.PUBLISH:
            self._end_streams()
            self._publish(store, state)
            return
        if action is FrontendAction.TEAR_DOWN:
            self._end_streams()
        if state is not self._state:
            self._enter(store, state)

    def _require_same(self, store: Store) -> None:
        """Raises TransportLost if the card was removed and made anew. The backend's state does not
        tell: if both are done before we look, it is the one that we have seen before."""
        known = {"backend": self._backend, "state": str(int(self._state))}
        found = store.read_each([f"{self._device}/{name}" for name in known])
        if list(found) != list(known.values()):
            raise TransportLost(_TAKEN_AWAY_TEXT)

    def _publish(self, store: Store, state: XenbusState) -> None:
        """Publishes the rings and the state at once: in between, the card could be made anew, and
        its backend would miss the rings."""
        self.config = parse_card(read_card_nodes(store, self._device))
        in_place = self._captures_in_place(store)
        for pcm in self.config.pcms:
            for config in pcm.streams:
                name = f"{pcm.index}/{config.index}"
                self.streams.append(
                    Pcm(self._transport, self._engine, self._backend_domid, name, config, in_place)
                )
        for attempt in store.transactions():
            with attempt as transaction:
                if self._backend_state(transaction) is not XenbusState.INIT_WAIT:
                    return  # its change calls _step() again
                for stream in self.streams:
                    for name, value in stream.rings.nodes().items():
                        transaction.write(f"{self._device}/{stream.name}/{name}", value)
                transaction.write(f"{self._device}/state", str(int(state)))
        self._state = state

    def _enter(self, store: Store, state: XenbusState) -> None:
        self._state = state
        store.write(f"{self._device}/state", str(int(state)))

    def _backend_state(self, store: Store) -> XenbusState:
        try:
            return parse_state(store.read(f"{self._backend}/state"))
        except (KeyError, PermissionError, RemoteProtocolError):
            return XenbusState.UNKNOWN

    def _captures_in_place(self, store: Store) -> bool:
        try:
            return store.read(f"{self._backend}/{CAPTURE_IN_PLACE}") == "1"
        except (KeyError, PermissionError):
            return False

    # Leaving

    async def _leave(self) -> None:
        """Closes the connection. The pages stay until the backend has unmapped them."""
        if self._store is None or self._state is not XenbusState.CONNECTED:
            return
        store = self._store
        self._enter(store, XenbusState.CLOSING)
        await self._await(
            lambda: self._backend_state(store) is not XenbusState.CONNECTED,
            HANDSHAKE_TIMEOUT_SECONDS,
        )
        self._enter(store, XenbusState.CLOSED)

    async def _release(self) -> None:
        loop = asyncio.get_running_loop()
        self._end_streams()
        loop.remove_reader(self._engine.fileno())
        if self._store is not None:
            loop.remove_reader(self._store.fileno())
            self._store.close()
            self._store = None
        os.close(self._lock)

    def _end_streams(self) -> None:
        for stream in self.streams:
            stream.release()
        self.streams.clear()

    # Events

    def _on_store(self) -> None:
        if self._store is None:
            return
        try:
            self._store.events()
            self._changed.set()
            if self._state is XenbusState.CONNECTED:
                self._follow_backend(self._store)
        except TransportLost:
            asyncio.get_running_loop().remove_reader(self._store.fileno())
            self._changed.set()
            self.lost.set()

    def _follow_backend(self, store: Store) -> None:
        """Ends the connection when the backend leaves it. If the backend negotiates anew, that is
        for the next Card."""
        action, _ = FRONTEND_TABLE[self._state, self._backend_state(store)]
        if action in (FrontendAction.WAIT, FrontendAction.IGNORE):
            return
        self._end_streams()
        self.lost.set()
        with contextlib.suppress(*_TAKEN_AWAY):
            self._enter(store, XenbusState.INITIALISING)

    def _on_engine(self) -> None:
        self._engine.clear()
        if self._also_poll is not None:
            self._also_poll()
        try:
            for stream in self.streams:
                stream.poll()
        except BackendBroken as error:
            self._end_connection(error)

    def _end_connection(self, reason: XensndError) -> None:
        """Tells all who wait. The pages stay until _leave() has closed the connection."""
        for stream in self.streams:
            stream.end(reason)
        self.why_lost = reason
        self.lost.set()

    async def _await(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until the condition holds, and checks it at each event of XenStore. Returns False
        if it does not hold after so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            self._changed.clear()
            if condition():
                return True
            remaining = deadline - loop.time()
            if remaining <= 0 or not await _is_set_within(self._changed, remaining):
                return condition()


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):  # wait_for() may swallow a cancellation
            await event.wait()
    except TimeoutError:
        return False
    return True
