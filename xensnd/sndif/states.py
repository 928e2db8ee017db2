"""Three state machines, as tables: who may be in which state, and what follows.

The backend's and the frontend's handshake (sndif.h, "STATE DIAGRAMS", and what the stock Linux
driver makes of it), and the states of one PCM stream (requests OPEN, CLOSE and TRIGGER). Both
handshakes are asked once for each change of the other side's state, with the state as it is now:
XenStore merges changes, so states may seem to be skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from xensnd.errors import RemoteProtocolError
from xensnd.sndif.untrusted import decimal

__all__ = [
    "BACKEND_TABLE",
    "FRONTEND_TABLE",
    "STREAM_TABLE",
    "BackendAction",
    "BackendPhase",
    "BackendStep",
    "FrontendAction",
    "FrontendStep",
    "StreamEvent",
    "StreamState",
    "XenbusState",
    "backend_phase",
    "next_stream_state",
    "parse_state",
    "to_mermaid",
]


class XenbusState(IntEnum):
    """A device's `state` node: xen/io/xenbus.h."""

    UNKNOWN = 0  # also: the node is gone
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8


def parse_state(text: str) -> XenbusState:
    return XenbusState(decimal(text, "state", maximum=max(XenbusState)))


# The backend


class BackendPhase(Enum):
    """The phase of a backend. Its XenbusState does not tell whether the frontend has answered."""

    STARTING = auto()
    OFFERED = auto()
    ANSWERED = auto()  # rings mapped and served; the frontend is still to register its card
    CONNECTED = auto()  # the frontend is connected too, or was until a moment ago
    CLOSING = auto()  # the toolstack wants the device away
    CLOSED = auto()

    @property
    def xenbus_state(self) -> XenbusState:
        """What the backend's `state` node holds in this phase."""
        return _XENBUS_STATE[self]


_XENBUS_STATE = {
    BackendPhase.STARTING: XenbusState.INITIALISING,
    BackendPhase.OFFERED: XenbusState.INIT_WAIT,
    BackendPhase.ANSWERED: XenbusState.CONNECTED,
    BackendPhase.CONNECTED: XenbusState.CONNECTED,
    BackendPhase.CLOSING: XenbusState.CLOSING,
    BackendPhase.CLOSED: XenbusState.CLOSED,
}


def backend_phase(own: XenbusState, frontend: XenbusState) -> BackendPhase:
    """Return the phase of a device found in XenStore: new, closing, or left by a dead backend.

    If our node is gone, or holds what no backend writes, the device is CLOSED: leave it alone.
    """
    if own is XenbusState.CONNECTED and frontend is XenbusState.CONNECTED:
        return BackendPhase.CONNECTED
    # Of Connected's two phases ANSWERED comes first, and is the safe guess: it never offers again.
    return next((phase for phase in BackendPhase if phase.xenbus_state is own), BackendPhase.CLOSED)


class BackendAction(Enum):
    """What a backend does about a frontend's state. It then writes the new phase's state, if any.

    WAIT: nothing, the frontend or the toolstack moves next. OFFER: publish `versions`. REVIVE: if
    no frontend has answered yet, start it as the toolstack did. CONNECT: read what the frontend
    published, map the rings, bind the ports; if that fails, close instead. RECHECK: connect again
    if the frontend has published something other than what is mapped. ESTABLISH: the same, and the
    frontend has its card. WITHDRAW: let players in the guest close what they have open, and then
    close. DISCONNECT and CLOSE: end the streams, unmap, unbind. IGNORE: nothing, no frontend should
    be in this state.
    """

    WAIT = auto()
    OFFER = auto()
    REVIVE = auto()
    CONNECT = auto()
    RECHECK = auto()
    ESTABLISH = auto()
    WITHDRAW = auto()
    DISCONNECT = auto()
    CLOSE = auto()
    IGNORE = auto()


class BackendStep(NamedTuple):
    action: BackendAction
    phase: BackendPhase


_EVERY = frozenset(XenbusState)
_GONE = frozenset({XenbusState.UNKNOWN})
_ODD = frozenset({XenbusState.INIT_WAIT, XenbusState.RECONFIGURING, XenbusState.RECONFIGURED})
_LEFT = frozenset({XenbusState.INITIALISING, XenbusState.CLOSING, XenbusState.CLOSED})

_State = TypeVar("_State", bound=Enum)
_Step = TypeVar("_Step")


def _table(
    rules: Iterable[tuple[_State, Collection[XenbusState], _Step]],
) -> Mapping[tuple[_State, XenbusState], _Step]:
    return MappingProxyType({(own, peer): step for own, peers, step in rules for peer in peers})


_BACKEND_RULES = (
    (
        BackendPhase.STARTING,
        _GONE,
        BackendStep(BackendAction.WAIT, BackendPhase.STARTING),
    ),
    (
        BackendPhase.STARTING,
        _EVERY - _GONE,
        BackendStep(BackendAction.OFFER, BackendPhase.OFFERED),
    ),
    (
        BackendPhase.OFFERED,
        {XenbusState.INITIALISED},
        BackendStep(BackendAction.CONNECT, BackendPhase.ANSWERED),
    ),
    (
        # Connected: it has yet to notice that we went back.
        BackendPhase.OFFERED,
        {XenbusState.INITIALISING, XenbusState.CLOSING, XenbusState.CONNECTED} | _GONE,
        BackendStep(BackendAction.WAIT, BackendPhase.OFFERED),
    ),
    (
        # Linux takes a second to leave a device that was detached, and then writes Closed. If
        # another was attached there meanwhile, that is the other's state, and Linux ignores it.
        BackendPhase.OFFERED,
        {XenbusState.CLOSED},
        BackendStep(BackendAction.REVIVE, BackendPhase.OFFERED),
    ),
    (
        BackendPhase.OFFERED,
        _ODD,
        BackendStep(BackendAction.IGNORE, BackendPhase.OFFERED),
    ),
    (
        # Linux is notified of one InitWait twice when a device is attached. It then gives up the
        # rings that it has just published, goes to Initialising, and publishes others.
        BackendPhase.ANSWERED,
        {XenbusState.INITIALISING},
        BackendStep(BackendAction.WAIT, BackendPhase.ANSWERED),
    ),
    (
        BackendPhase.ANSWERED,
        {XenbusState.INITIALISED},
        BackendStep(BackendAction.RECHECK, BackendPhase.ANSWERED),
    ),
    (
        BackendPhase.ANSWERED,
        {XenbusState.CONNECTED},
        BackendStep(BackendAction.ESTABLISH, BackendPhase.CONNECTED),
    ),
    (
        # It could not register its card. Offered again it would only fail again, for ever, and
        # the stock driver's failing second device disturbs its first.
        BackendPhase.ANSWERED,
        {XenbusState.CLOSING, XenbusState.CLOSED} | _GONE,
        BackendStep(BackendAction.CLOSE, BackendPhase.CLOSED),
    ),
    (
        BackendPhase.ANSWERED,
        _ODD,
        BackendStep(BackendAction.IGNORE, BackendPhase.ANSWERED),
    ),
    (
        BackendPhase.CONNECTED,
        {XenbusState.CONNECTED},
        BackendStep(BackendAction.WAIT, BackendPhase.CONNECTED),
    ),
    (
        # Its driver is being unloaded, or started afresh: Linux waits up to 1 s for InitWait.
        BackendPhase.CONNECTED,
        _LEFT | {XenbusState.INITIALISED},
        BackendStep(BackendAction.DISCONNECT, BackendPhase.OFFERED),
    ),
    (
        BackendPhase.CONNECTED,
        _GONE,
        BackendStep(BackendAction.CLOSE, BackendPhase.CLOSED),
    ),
    (
        BackendPhase.CONNECTED,
        _ODD,
        BackendStep(BackendAction.IGNORE, BackendPhase.CONNECTED),
    ),
    (
        # A card that goes while a PCM is open corrupts the stock driver.
        BackendPhase.CLOSING,
        {XenbusState.CONNECTED},
        BackendStep(BackendAction.WITHDRAW, BackendPhase.CLOSING),
    ),
    (
        # At once, even if the frontend is gone: the toolstack waits up to 10 s for it.
        BackendPhase.CLOSING,
        _EVERY - {XenbusState.CONNECTED},
        BackendStep(BackendAction.CLOSE, BackendPhase.CLOSED),
    ),
    (
        # Only the toolstack starts a closed device again, by writing Initialising into our state.
        BackendPhase.CLOSED,
        _EVERY,
        BackendStep(BackendAction.WAIT, BackendPhase.CLOSED),
    ),
)

BACKEND_TABLE = _table(_BACKEND_RULES)
"""(own phase, frontend's state) to what is to be done and the phase it leads to. Total."""


# The frontend


class FrontendAction(Enum):
    """What a frontend does about a backend's state. It then writes its own new state, if any.

    WAIT: nothing, the backend moves next. PUBLISH: give up what was published before, read the
    configuration, publish rings and ports. CONNECT: start the streams. TEAR_DOWN: end the streams,
    free rings and ports, be ready for a new offer. FINISH: the same, for good. IGNORE: nothing, no
    backend should be in this state.
    """

    WAIT = auto()
    PUBLISH = auto()
    CONNECT = auto()
    TEAR_DOWN = auto()
    FINISH = auto()
    IGNORE = auto()


class FrontendStep(NamedTuple):
    action: FrontendAction
    state: XenbusState


_BACKEND_LEFT = _LEFT | _GONE
_BACKEND_ODD = frozenset(
    {XenbusState.INITIALISED, XenbusState.RECONFIGURING, XenbusState.RECONFIGURED}
)

_FRONTEND_RULES = (
    (
        XenbusState.INITIALISING,
        {XenbusState.INIT_WAIT},
        FrontendStep(FrontendAction.PUBLISH, XenbusState.INITIALISED),
    ),
    (
        # Connected: to what we tore down. It offers again once it has seen our state.
        XenbusState.INITIALISING,
        _BACKEND_LEFT | {XenbusState.CONNECTED},
        FrontendStep(FrontendAction.WAIT, XenbusState.INITIALISING),
    ),
    (
        XenbusState.INITIALISING,
        _BACKEND_ODD,
        FrontendStep(FrontendAction.IGNORE, XenbusState.INITIALISING),
    ),
    (
        XenbusState.INITIALISED,
        {XenbusState.INIT_WAIT},
        FrontendStep(FrontendAction.WAIT, XenbusState.INITIALISED),
    ),
    (
        XenbusState.INITIALISED,
        {XenbusState.CONNECTED},
        FrontendStep(FrontendAction.CONNECT, XenbusState.CONNECTED),
    ),
    (
        XenbusState.INITIALISED,
        _BACKEND_LEFT,
        FrontendStep(FrontendAction.TEAR_DOWN, XenbusState.INITIALISING),
    ),
    (
        XenbusState.INITIALISED,
        _BACKEND_ODD,
        FrontendStep(FrontendAction.IGNORE, XenbusState.INITIALISED),
    ),
    (
        XenbusState.CONNECTED,
        {XenbusState.INIT_WAIT},
        FrontendStep(FrontendAction.PUBLISH, XenbusState.INITIALISED),
    ),
    (
        XenbusState.CONNECTED,
        {XenbusState.CONNECTED},
        FrontendStep(FrontendAction.WAIT, XenbusState.CONNECTED),
    ),
    (
        XenbusState.CONNECTED,
        _BACKEND_LEFT,
        FrontendStep(FrontendAction.TEAR_DOWN, XenbusState.INITIALISING),
    ),
    (
        XenbusState.CONNECTED,
        _BACKEND_ODD,
        FrontendStep(FrontendAction.IGNORE, XenbusState.CONNECTED),
    ),
    (
        # The agent stops, and wrote Closing. The backend must unmap the pages first.
        XenbusState.CLOSING,
        _BACKEND_ODD | {XenbusState.CONNECTED},
        FrontendStep(FrontendAction.WAIT, XenbusState.CLOSING),
    ),
    (
        XenbusState.CLOSING,
        _BACKEND_LEFT | {XenbusState.INIT_WAIT},
        FrontendStep(FrontendAction.FINISH, XenbusState.CLOSED),
    ),
    (
        # Only a new agent goes on, from Initialising.
        XenbusState.CLOSED,
        _EVERY,
        FrontendStep(FrontendAction.WAIT, XenbusState.CLOSED),
    ),
)

FRONTEND_TABLE = _table(_FRONTEND_RULES)
"""(own state, backend's state) to what is to be done and the state it leads to.

Total for the states a frontend has: Initialising, Initialised, Connected, Closing, Closed.
"""


# The stream


class StreamState(Enum):
    CLOSED = auto()
    PREPARED = auto()
    RUNNING = auto()
    PAUSED = auto()


class StreamEvent(Enum):
    OPEN = auto()
    CLOSE = auto()
    START = auto()
    PAUSE = auto()
    STOP = auto()
    RESUME = auto()


STREAM_TABLE: Mapping[tuple[StreamState, StreamEvent], StreamState] = MappingProxyType(
    {
        (StreamState.CLOSED, StreamEvent.OPEN): StreamState.PREPARED,
        (StreamState.CLOSED, StreamEvent.CLOSE): StreamState.CLOSED,  # Linux does, at hw_free
        (StreamState.PREPARED, StreamEvent.OPEN): StreamState.PREPARED,  # a reopen
        (StreamState.PREPARED, StreamEvent.CLOSE): StreamState.CLOSED,
        (StreamState.PREPARED, StreamEvent.START): StreamState.RUNNING,
        (StreamState.PREPARED, StreamEvent.STOP): StreamState.PREPARED,
        (StreamState.RUNNING, StreamEvent.OPEN): StreamState.PREPARED,
        (StreamState.RUNNING, StreamEvent.CLOSE): StreamState.CLOSED,
        (StreamState.RUNNING, StreamEvent.START): StreamState.RUNNING,
        (StreamState.RUNNING, StreamEvent.RESUME): StreamState.RUNNING,
        (StreamState.RUNNING, StreamEvent.PAUSE): StreamState.PAUSED,
        (StreamState.RUNNING, StreamEvent.STOP): StreamState.PREPARED,
        (StreamState.PAUSED, StreamEvent.OPEN): StreamState.PREPARED,
        (StreamState.PAUSED, StreamEvent.CLOSE): StreamState.CLOSED,
        (StreamState.PAUSED, StreamEvent.START): StreamState.RUNNING,  # Linux never sends RESUME
        (StreamState.PAUSED, StreamEvent.RESUME): StreamState.RUNNING,
        (StreamState.PAUSED, StreamEvent.PAUSE): StreamState.PAUSED,
        (StreamState.PAUSED, StreamEvent.STOP): StreamState.PREPARED,
    }
)
"""What a request makes of a stream. A pair that is not here is illegal."""


def next_stream_state(state: StreamState, event: StreamEvent) -> StreamState:
    """Raises RemoteProtocolError if a peer may not do this now."""
    try:
        return STREAM_TABLE[state, event]
    except KeyError:
        legal = ", ".join(each.name for was, each in STREAM_TABLE if was is state)
        raise RemoteProtocolError(
            f"{event.name} while the stream is {state.name}, allowed {legal}"
        ) from None


# Diagrams

_Key = TypeVar("_Key", bound=tuple[Enum, Enum])
_Value = TypeVar("_Value", bound=Enum | tuple[Enum, Enum])


def to_mermaid(table: Mapping[_Key, _Value]) -> str:
    """Draw any of the tables as a mermaid state diagram.

    An edge reads "event", or "the peer's state / action". Steps of a handshake that lead nowhere
    are left out.
    """
    edges: dict[tuple[Enum, Enum, str], list[str]] = {}
    for (source, event), value in table.items():
        if isinstance(value, tuple):
            action, target = value
            if source is target:
                continue
            suffix = f" / {action.name}"
        else:
            target, suffix = value, ""
        edges.setdefault((source, target, suffix), []).append(event.name)
    lines = (
        f"    {source.name} --> {target.name}: {', '.join(sorted(events))}{suffix}"
        for (source, target, suffix), events in edges.items()
    )
    return "\n".join(["stateDiagram-v2", *lines, ""])
