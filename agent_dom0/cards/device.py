"""One guest's sound card: the handshake with its frontend, and the streams that come of it.

The tables in xensnd.sndif.states say which action follows in which state; this module does it. The
guest of a device is taken from the backend's own path, and from nothing that a guest writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from agent_dom0.cards.card_stream import CardStream
from agent_dom0.engines.interface import EngineLost
from agent_dom0.events import EventKind, Priority
from agent_dom0.streams.failures import FAILURES, Recovery
from agent_dom0.streams.guest_device import DeviceOwner, GuestDevice
from agent_dom0.streams.throttle import cost_of
from agent_dom0.streams.watched_nodes import WatchedNodes
from xensnd.errors import RemoteProtocolError, TransportLost
from xensnd.sndif.states import (
    BACKEND_TABLE,
    BackendAction,
    BackendPhase,
    XenbusState,
    backend_phase,
    parse_state,
)
from xensnd.sndif.store_fields import (
    CAPTURE_IN_PLACE,
    SUPPORTED_VERSIONS,
    VERSIONS,
    StreamConfig,
    StreamRings,
    parse_card,
    parse_rings,
)
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store

log = logging.getLogger("xensnd-dom0")

ODD_STATES_MAX = 64

# How long players may take to close a device that is taken away. The toolstack waits 10 s at most.
WITHDRAW_SECONDS = 3.0

# A frontend may be about to publish other rings (sndif/states.py, RECHECK). So invalid ones are
# read once more after this time.
PUBLISH_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class DevicePath:
    """Where the two halves of a device stand in XenStore."""

    backend_domid: int
    guest_domid: int
    devid: int

    @property
    def backend(self) -> str:
        return f"/local/domain/{self.backend_domid}/backend/vsnd/{self.guest_domid}/{self.devid}"

    @property
    def frontend(self) -> str:
        return f"/local/domain/{self.guest_domid}/device/vsnd/{self.devid}"


class CardMaker(Protocol):
    """What a device needs for its streams: CardFactory, for one card."""

    def stream(self, name: str, config: StreamConfig, rings: StreamRings) -> CardStream: ...
    def recent_nodes(self) -> Mapping[str, str] | None:
        """Return what XenStore held of the card a moment ago; None: it was not read."""

    def is_left_open(self, stream: str) -> bool:
        """Whether the agent before this one had the stream open."""


class Device(GuestDevice):
    """Serves one device. `run` calls the work of a timer, during which XenStore may be lost."""

    def __init__(
        self,
        store: Store,
        path: DevicePath,
        owner: DeviceOwner,
        maker: CardMaker,
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        self.path = path
        self._owner = owner
        self._maker = maker
        self._run = run
        state, token = f"{path.frontend}/state", path.backend
        self._watched = WatchedNodes(owner.budget, [state], token, self._step_again)
        self._streams: list[CardStream] = []
        self._phase: BackendPhase | None = None  # not known yet
        self._own = self._frontend = XenbusState.UNKNOWN  # as we have read them
        self._odd_states = 0
        self._retries_connect = False  # once, because the published rings were invalid
        self._withdrawn_at: float | None = None
        self._recovery = Recovery(self._tell_failure, self._step_again)
        self._may_revive = True  # no driver was connected before
        self.use_store(store)

    @property
    def is_in_use(self) -> bool:
        return bool(self._streams)

    @property
    def streams(self) -> Sequence[CardStream]:
        return self._streams

    def status(self) -> dict[str, Any]:
        return {
            "devid": self.path.devid,
            "state": self._shown_state,
            "streams": [asdict(each) for stream in self._streams if (each := stream.status())],
        }

    @property
    def _shown_state(self) -> str:
        if self._owner.is_quarantined:
            return "quarantined"
        return self._phase.name.lower() if self._phase else ""

    def use_store(self, store: Store) -> None:
        """Use a new connection to XenStore. The next step() sets the watch there."""
        self._store = store

    # Called by the agent. Only TransportLost is raised; any other failure ends this device.

    def step(self) -> None:
        """Follow a change of state, ours or the frontend's."""
        self._contain(self._step)

    def follow(self, times: int) -> None:
        """Follow the frontend's state, of which XenStore has told so many times."""
        if self._owner.budget.admits_store_events(times):
            self.step()
        else:
            self._contain(lambda: self._watched.pause(self._store))

    def poll(self) -> None:
        """Serve the requests that wait, after an event of the engine."""
        self._contain(self._poll)

    def close_denied_gates(self) -> None:
        for stream in self._streams:
            stream.close_denied_gate()

    def decide(self) -> None:
        """Decide all streams again."""
        self._contain(self._decide)

    def _step(self) -> None:
        self._watched.watch(self._store)
        self._own = _read_state(self._store, self.path.backend)
        self._frontend = _read_state(self._store, self.path.frontend)
        if self._owner.is_quarantined:
            self._obey_toolstack(self._own)
            return
        self._follow_toolstack(self._own)
        if self._phase is not None:
            action, phase = BACKEND_TABLE[self._phase, self._frontend]
            self._enter(self._act(action, phase))

    def _obey_toolstack(self, own: XenbusState) -> None:
        """All that is done for a guest in quarantine, since the toolstack waits for it.

        A card that is connected stays as it is, as if there were no agent: requests time out, and
        players get errors. It must not go while a PCM is open, nor be offered anew; and later it
        can be taken over.
        """
        if own is XenbusState.CLOSING:
            is_connected = self._frontend is XenbusState.CONNECTED
            self._enter(self._withdraw() if is_connected else BackendPhase.CLOSED)
        elif own is XenbusState.INITIALISING and self._frontend is not XenbusState.UNKNOWN:
            self._enter(self._offer())
        self._phase = None  # what it is when it is served again is read then

    def _follow_toolstack(self, own: XenbusState) -> None:
        """Set the phase by our state, which the toolstack may have written."""
        if self._phase is None:
            self._begin(own)
        elif own is XenbusState.CLOSING:
            self._phase = BackendPhase.CLOSING
        elif own is XenbusState.INITIALISING and self._phase is not BackendPhase.STARTING:
            # The toolstack starts it again, or has replaced it, as xl does.
            self._end_streams()
            self._phase = BackendPhase.STARTING
        elif self._may_start_afresh():
            # The frontend has closed for good, so the next one is new. A frontend that only failed
            # goes to Initialising by itself; offering to it again would fail for ever.
            self._phase = BackendPhase.STARTING
            self._may_revive = False
            self._odd_states = 0

    def _act(self, action: BackendAction, phase: BackendPhase) -> BackendPhase:
        """Do the action. Return the new phase, which may differ from the planned one."""
        match action:
            case BackendAction.OFFER:
                return self._offer()
            case BackendAction.REVIVE:
                self._revive()
            case BackendAction.CONNECT:
                return self._connect()
            case BackendAction.RECHECK:
                return self._recheck(phase)
            case BackendAction.ESTABLISH:
                phase = self._recheck(phase)
                if phase is BackendPhase.CONNECTED:
                    self._audit(EventKind.DEVICE_CONNECTED, "connected")
            case BackendAction.WITHDRAW:
                return self._withdraw()
            case BackendAction.DISCONNECT | BackendAction.CLOSE:
                self._end_streams()
            case BackendAction.IGNORE:
                return self._count_odd_state(phase)
        return phase

    def _poll(self) -> None:
        try:
            for stream in self._streams:
                self._serve(stream)
        except RemoteProtocolError as error:
            self._violated(str(error))
            self._enter(BackendPhase.CLOSED)
        if self._phase is BackendPhase.CLOSING:
            self._step()

    def _serve(self, stream: CardStream) -> None:
        packet = stream.next_request()
        if self._owner.was_paused():
            stream.tell_limit("more requests than the guest's budget allows; all its streams wait")
        if packet is None:
            return
        if self._owner.budget.requests.admits(cost_of(packet)):
            stream.answer(packet)
            return
        stream.tell_limit(f"{stream.name}: {self._owner.budget.too_many_requests}")
        self._owner.budget.requests.poll_later(self._poll_later)

    def _poll_later(self) -> None:
        self._run(self.poll)

    def _decide(self) -> None:
        for stream in self._streams:
            stream.decide()

    def lose_engine(self) -> None:
        """Leave what is open as it is. The next step takes it over with another engine."""
        self._hand_over_streams()
        self._phase = None

    def hand_over(self) -> None:
        self.close(forget=False)

    def close(self, *, forget: bool) -> None:
        """Stop serving. `forget`: its nodes are gone. Otherwise the next agent takes it over."""
        self._recovery.close()
        self._retries_connect, self._withdrawn_at = False, None  # so _step_later() does nothing
        if forget:
            self._end_streams()
            for later in (self._poll_later, self._step_again):
                self._owner.forget(later)
            self._watched.close(self._store)
            return
        self._hand_over_streams()

    # Failures

    def _contain(self, work: Callable[[], None]) -> None:
        with self._owner.serving():
            try:
                with contextlib.suppress(EngineLost):  # lose_engine() is called soon
                    work()
            except FAILURES as error:
                self._fail(error)
            else:
                if self._streams:
                    self._recovery.note_success()

    def _fail(self, failure: BaseException) -> None:
        """End the streams, and try again after a growing delay."""
        self._recovery.note_failure(failure)
        if self._phase is None:
            self._hand_over_streams()  # the next attempt takes them over
        self._end_streams()
        if self._phase is BackendPhase.CONNECTED:
            self._phase = BackendPhase.CLOSED  # its frontend has to connect again
            with contextlib.suppress(*FAILURES):
                self._enter(BackendPhase.CLOSED)

    def _tell_failure(self, failure: BaseException) -> None:
        text = f"device {self.path.devid}: {failure}; it is tried again"
        self._owner.audit(EventKind.DEVICE_FAILED, text, Priority.WARNING)

    # The handshake

    def _begin(self, own: XenbusState) -> None:
        """Set the first phase, by the states that are in XenStore."""
        phase = backend_phase(own, self._frontend)
        if phase is BackendPhase.CONNECTED:
            # An earlier agent has served it. Renegotiating would crash a stock driver that plays.
            # If this fails, the next attempt takes it over.
            self._phase = self._connect(adopt=True)
            if self._phase is BackendPhase.ANSWERED:
                self._phase = BackendPhase.CONNECTED
                self._audit(EventKind.DEVICE_CONNECTED, "taken over")
            else:
                self._enter(self._phase)
        elif (phase, self._frontend) == (BackendPhase.ANSWERED, XenbusState.INITIALISING):
            self._phase = BackendPhase.OFFERED  # its driver began anew while no agent was there
        else:
            self._phase = phase

    def _count_odd_state(self, phase: BackendPhase) -> BackendPhase:
        """Count an unexpected state of the frontend; close the device after too many."""
        self._odd_states += 1
        if self._odd_states == 1:
            log.warning(
                "%s: the frontend is in an unexpected state, %s",
                self._owner.guest.name,
                self._frontend.name,
            )
        if self._odd_states < ODD_STATES_MAX:
            return phase
        self._violated(f"{self._odd_states} unexpected states of the frontend")
        return BackendPhase.CLOSED

    def _may_start_afresh(self) -> bool:
        """Whether a closed device is offered again: only if its frontend has closed for good."""
        if (self._phase, self._frontend) != (BackendPhase.CLOSED, XenbusState.CLOSED):
            return False
        # Otherwise the toolstack is taking it away.
        return self._read(f"{self.path.backend}/online") == "1"

    def _withdraw(self) -> BackendPhase:
        """Wait for players to close the device that goes away, for WITHDRAW_SECONDS at most."""
        loop = asyncio.get_running_loop()
        if self._withdrawn_at is None:
            self._withdrawn_at = loop.time()
            loop.call_later(WITHDRAW_SECONDS, self._step_later)
            for stream in self._streams:
                stream.withdraw()
        waited = loop.time() - self._withdrawn_at
        may_be_held = self._owner.is_quarantined or any(each.is_held for each in self._streams)
        if waited < WITHDRAW_SECONDS and may_be_held:
            return BackendPhase.CLOSING
        self._end_streams()
        return BackendPhase.CLOSED

    def _offer(self) -> BackendPhase:
        self._store.write(f"{self.path.backend}/{VERSIONS}", SUPPORTED_VERSIONS)
        self._store.write(f"{self.path.backend}/{CAPTURE_IN_PLACE}", "1")
        return BackendPhase.OFFERED

    def _revive(self) -> None:
        if not self._may_revive:
            return
        self._may_revive = False
        with contextlib.suppress(PermissionError):  # only dom0 may
            self._store.write(f"{self.path.frontend}/state", str(int(XenbusState.INITIALISING)))

    def _enter(self, phase: BackendPhase) -> None:
        """Write our new state, but never over one that the toolstack has written meanwhile: the
        watch will call step() again."""
        self._phase = phase
        state = phase.xenbus_state
        if state is self._own:
            return
        for attempt in self._store.transactions():
            with attempt as transaction:
                is_as_seen = _read_state(transaction, self.path.backend) is self._own
                if is_as_seen and self._own is not XenbusState.UNKNOWN:
                    transaction.write(f"{self.path.backend}/state", str(int(state)))
        if is_as_seen:
            self._own = state

    def _connect(self, *, adopt: bool = False) -> BackendPhase:
        self._end_streams()
        if not adopt and not self._may_connect():
            return BackendPhase.OFFERED
        self._may_revive = False
        try:
            for stream in self._make_streams(adopt=adopt):
                stream.begin(adopt=adopt)
        except RemoteProtocolError as error:
            self._end_streams()
            if not adopt and not self._retries_connect:
                self._retries_connect = True
                asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self._step_later)
                return BackendPhase.OFFERED
            self._retries_connect = False
            self._violated(str(error))
            return BackendPhase.CLOSED
        self._retries_connect = False
        return BackendPhase.ANSWERED

    def _may_connect(self) -> bool:
        """Whether its engine runs, and its budget allows it. Otherwise it is tried again."""
        owner, again = self._owner, self._step_again
        return owner.has_engine(again) and owner.budget.admits_connection("cards", again)

    def _step_again(self) -> None:
        self._run(self.step)

    def _recheck(self, phase: BackendPhase) -> BackendPhase:
        """Connect again if the frontend has published other rings than those of the streams. An
        agent that has just started has no streams yet."""
        published = [self._read_rings(stream.name) for stream in self._streams]
        if published and published == [stream.rings for stream in self._streams]:
            return phase
        connected = self._connect()
        return phase if connected is BackendPhase.ANSWERED else connected

    def _read_rings(self, stream: str) -> StreamRings | None:
        names, directory = StreamRings.NODES, f"{self.path.frontend}/{stream}"
        values = self._store.read_each([f"{directory}/{name}" for name in names])
        nodes = {
            name: value for name, value in zip(names, values, strict=True) if value is not None
        }
        try:
            return parse_rings(nodes)
        except RemoteProtocolError:
            return None

    def _step_later(self) -> None:
        if self._retries_connect or self._withdrawn_at is not None:
            with contextlib.suppress(TransportLost):  # the agent notices it too
                self.step()

    def _make_streams(self, *, adopt: bool) -> Iterator[CardStream]:
        """Make one stream after the other, and those first that were left open: they sound."""
        nodes = self._maker.recent_nodes() if adopt else None
        if nodes is None:
            nodes = read_card_nodes(self._store, self.path.frontend, self._owner.most_streams)
        configs = {
            f"{pcm.index}/{config.index}": config
            for pcm in parse_card(nodes).pcms
            for config in pcm.streams
        }
        self._owner.require_room([config.direction for config in configs.values()])
        rings = {name: parse_rings(_below(nodes, name)) for name in configs}
        names = sorted(configs, key=lambda name: not self._maker.is_left_open(name))
        for name in names if adopt else configs:
            self._streams.append(self._maker.stream(name, configs[name], rings[name]))
            yield self._streams[-1]
        order = list(configs)
        self._streams.sort(key=lambda stream: order.index(stream.name))

    def _end_streams(self) -> None:
        self._withdrawn_at = None
        for stream in self._streams:
            stream.close()
        if self._streams:
            self._audit(EventKind.DEVICE_DISCONNECTED, "disconnected")
        self._streams.clear()

    def _hand_over_streams(self) -> None:
        """Stop serving the streams; the next agent adopts them."""
        for stream in self._streams:
            stream.hand_over()
        self._streams.clear()

    def _violated(self, text: str) -> None:
        closed = self._owner.budget.count_closure()
        what = f"device {self.path.devid}: {text}; the device is {closed}"
        self._owner.audit(EventKind.PROTOCOL_VIOLATION, what, Priority.WARNING)
        self._end_streams()

    def _audit(self, kind: EventKind, what: str) -> None:
        self._owner.audit(kind, f"device {self.path.devid} {what}")

    # XenStore

    def _read(self, path: str) -> str | None:
        try:
            return self._store.read(path)
        except KeyError:
            return None


def _read_state(store: Store, directory: str) -> XenbusState:
    try:
        return parse_state(store.read(f"{directory}/state"))
    except (KeyError, PermissionError, RemoteProtocolError):
        return XenbusState.UNKNOWN


def _below(nodes: Mapping[str, str], directory: str) -> dict[str, str]:
    prefix = f"{directory}/"
    return {path[len(prefix) :]: value for path, value in nodes.items() if path.startswith(prefix)}
