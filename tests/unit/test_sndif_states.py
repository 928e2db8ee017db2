from __future__ import annotations

from collections.abc import Collection
from itertools import product

import pytest

from xensnd.errors import RemoteProtocolError
from xensnd.sndif import states
from xensnd.sndif.states import (
    BACKEND_TABLE,
    FRONTEND_TABLE,
    STREAM_TABLE,
    BackendAction,
    BackendPhase,
    FrontendAction,
    FrontendStep,
    StreamEvent,
    StreamState,
    XenbusState,
    backend_phase,
    next_stream_state,
    parse_state,
    to_mermaid,
)

GONE = XenbusState.UNKNOWN
INITIALISING = XenbusState.INITIALISING
INIT_WAIT = XenbusState.INIT_WAIT
INITIALISED = XenbusState.INITIALISED
CONNECTED = XenbusState.CONNECTED
CLOSING = XenbusState.CLOSING
CLOSED = XenbusState.CLOSED


def backend(phase: BackendPhase, *frontend: XenbusState) -> list[tuple[str, XenbusState]]:
    """What a backend does and writes as the frontend goes through these states."""
    steps = []
    for state in frontend:
        action, phase = BACKEND_TABLE[phase, state]
        steps.append((action.name, phase.xenbus_state))
    return steps


@pytest.mark.parametrize("state", XenbusState)
def test_state_is_read_from_its_number(state: XenbusState) -> None:
    assert parse_state(str(state.value)) is state


@pytest.mark.parametrize("text", ["", "9", "-1", " 4", "04", "4\n", "four", "٤", "9" * 5000])
def test_junk_in_a_state_node_is_the_peers_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"state holds .{0,60}, allowed 0 to 8"):
        parse_state(text)


def test_backend_connects_as_the_stock_driver_comes() -> None:
    assert backend(BackendPhase.STARTING, INITIALISING, INITIALISED, CONNECTED) == [
        ("OFFER", INIT_WAIT),
        ("CONNECT", CONNECTED),
        ("ESTABLISH", CONNECTED),
    ]


def test_backend_offers_again_when_a_connected_drivers_unload_waits_for_it() -> None:
    assert backend(BackendPhase.CONNECTED, CLOSING, CLOSED, INITIALISING, INITIALISED) == [
        ("DISCONNECT", INIT_WAIT),
        ("REVIVE", INIT_WAIT),
        ("WAIT", INIT_WAIT),
        ("CONNECT", CONNECTED),
    ]


@pytest.mark.parametrize("frontend", [INITIALISING, INITIALISED, CLOSED])
def test_backend_that_missed_closing_disconnects_all_the_same(frontend: XenbusState) -> None:
    assert backend(BackendPhase.CONNECTED, frontend) == [("DISCONNECT", INIT_WAIT)]


def test_backend_never_offers_again_to_a_frontend_that_never_was_connected() -> None:
    reachable = {BackendPhase.ANSWERED}
    for _ in BackendPhase:
        reachable |= {
            step.phase
            for (phase, frontend), step in BACKEND_TABLE.items()
            if phase in reachable and frontend is not CONNECTED
        }
    assert reachable == {BackendPhase.ANSWERED, BackendPhase.CLOSED}


def test_backend_looks_again_at_what_a_frontend_publishes_twice() -> None:
    again = (INITIALISED, INITIALISING, INITIALISED, CONNECTED)
    assert backend(BackendPhase.OFFERED, *again) == [
        ("CONNECT", CONNECTED),
        ("WAIT", CONNECTED),
        ("RECHECK", CONNECTED),
        ("ESTABLISH", CONNECTED),
    ]


@pytest.mark.parametrize("frontend", set(XenbusState) - {CONNECTED})
def test_backend_closes_at_once_when_the_toolstack_asks(frontend: XenbusState) -> None:
    phase = backend_phase(CLOSING, frontend)
    assert backend(phase, frontend) == [("CLOSE", CLOSED)]


def test_backend_withdraws_before_it_closes_under_a_connected_frontend() -> None:
    assert backend(BackendPhase.CLOSING, CONNECTED, INITIALISING) == [
        ("WITHDRAW", CLOSING),
        ("CLOSE", CLOSED),
    ]


@pytest.mark.parametrize("frontend", XenbusState)
def test_closed_backend_stays_closed_whatever_the_frontend_does(frontend: XenbusState) -> None:
    assert backend(BackendPhase.CLOSED, frontend) == [("WAIT", CLOSED)]


@pytest.mark.parametrize("phase", [BackendPhase.ANSWERED, BackendPhase.CONNECTED])
def test_backend_closes_when_the_frontend_is_gone(phase: BackendPhase) -> None:
    assert backend(phase, GONE) == [("CLOSE", CLOSED)]


def test_backend_leaves_rings_alone_unless_an_action_says_so() -> None:
    mapped = {BackendPhase.ANSWERED, BackendPhase.CONNECTED}
    for (phase, frontend), (action, after) in BACKEND_TABLE.items():
        if action is BackendAction.CONNECT:
            assert (phase in mapped, after in mapped) == (False, True), (phase, frontend)
        elif action in {BackendAction.DISCONNECT, BackendAction.CLOSE}:
            assert after not in mapped, (phase, frontend)
        else:
            assert (phase in mapped) == (after in mapped), (phase, frontend)


@pytest.mark.parametrize(
    ("own", "frontend", "phase"),
    [
        (INITIALISING, INITIALISING, BackendPhase.STARTING),
        (INIT_WAIT, INITIALISED, BackendPhase.OFFERED),
        (CONNECTED, INITIALISED, BackendPhase.ANSWERED),
        (CONNECTED, CONNECTED, BackendPhase.CONNECTED),
        (CONNECTED, CLOSING, BackendPhase.ANSWERED),
        (CLOSING, CONNECTED, BackendPhase.CLOSING),
        (CLOSED, INITIALISING, BackendPhase.CLOSED),
        (GONE, CONNECTED, BackendPhase.CLOSED),
        (INITIALISED, INITIALISED, BackendPhase.CLOSED),
    ],
)
def test_backend_started_again_finds_its_phase_in_xenstore(
    own: XenbusState, frontend: XenbusState, phase: BackendPhase
) -> None:
    assert backend_phase(own, frontend) is phase


def test_backend_table_is_total_and_without_contradiction() -> None:
    assert set(BACKEND_TABLE) == set(product(BackendPhase, XenbusState))
    assert rules_cover_once([peers for _, peers, _ in states._BACKEND_RULES], len(BACKEND_TABLE))


def test_frontend_table_is_total_and_without_contradiction() -> None:
    own = (INITIALISING, INITIALISED, CONNECTED, CLOSING, CLOSED)
    assert set(FRONTEND_TABLE) == set(product(own, XenbusState))
    assert rules_cover_once([peers for _, peers, _ in states._FRONTEND_RULES], len(FRONTEND_TABLE))


def rules_cover_once(peers_of_rules: list[Collection[XenbusState]], pairs: int) -> bool:
    return sum(map(len, peers_of_rules)) == pairs


def test_frontend_connects_as_a_backend_offers() -> None:
    assert FRONTEND_TABLE[INITIALISING, INIT_WAIT] == (FrontendAction.PUBLISH, INITIALISED)
    assert FRONTEND_TABLE[INITIALISED, CONNECTED] == (FrontendAction.CONNECT, CONNECTED)


def test_frontend_publishes_once_for_an_offer() -> None:
    assert FRONTEND_TABLE[INITIALISED, INIT_WAIT] == (FrontendAction.WAIT, INITIALISED)


def test_connected_frontend_publishes_afresh_when_the_backend_offers_again() -> None:
    assert FRONTEND_TABLE[CONNECTED, INIT_WAIT] == (FrontendAction.PUBLISH, INITIALISED)


@pytest.mark.parametrize("own", [INITIALISED, CONNECTED])
@pytest.mark.parametrize("peer", [GONE, INITIALISING, CLOSING, CLOSED])
def test_frontend_tears_down_when_the_backend_leaves(own: XenbusState, peer: XenbusState) -> None:
    assert FRONTEND_TABLE[own, peer] == (FrontendAction.TEAR_DOWN, INITIALISING)


def test_frontend_connects_only_after_it_published() -> None:
    assert FRONTEND_TABLE[INITIALISING, CONNECTED] == (FrontendAction.WAIT, INITIALISING)


@pytest.mark.parametrize(
    ("backend_state", "step"),
    [
        (CONNECTED, FrontendStep(FrontendAction.WAIT, CLOSING)),
        (INIT_WAIT, FrontendStep(FrontendAction.FINISH, CLOSED)),
        (CLOSED, FrontendStep(FrontendAction.FINISH, CLOSED)),
        (GONE, FrontendStep(FrontendAction.FINISH, CLOSED)),
    ],
)
def test_closing_frontend_keeps_its_pages_until_the_backend_let_go(
    backend_state: XenbusState, step: FrontendStep
) -> None:
    assert FRONTEND_TABLE[CLOSING, backend_state] == step


def test_our_backend_and_our_frontend_meet_and_part() -> None:
    phase, own = BackendPhase.STARTING, INITIALISING
    for _ in range(5):
        phase = BACKEND_TABLE[phase, own].phase
        own = FRONTEND_TABLE[own, phase.xenbus_state].state
    assert (phase, own) == (BackendPhase.CONNECTED, CONNECTED)
    own = CLOSING  # the guest agent is stopped
    for _ in range(5):
        phase = BACKEND_TABLE[phase, own].phase
        own = FRONTEND_TABLE[own, phase.xenbus_state].state
    assert (phase, own) == (BackendPhase.OFFERED, CLOSED)
    own = INITIALISING  # and started again
    for _ in range(5):
        phase = BACKEND_TABLE[phase, own].phase
        own = FRONTEND_TABLE[own, phase.xenbus_state].state
    assert (phase, own) == (BackendPhase.CONNECTED, CONNECTED)


def play(*events: StreamEvent) -> StreamState:
    state = StreamState.CLOSED
    for event in events:
        state = next_stream_state(state, event)
    return state


def test_stream_plays_stops_and_closes() -> None:
    assert play(StreamEvent.OPEN, StreamEvent.START) is StreamState.RUNNING
    assert play(StreamEvent.OPEN, StreamEvent.START, StreamEvent.STOP) is StreamState.PREPARED
    assert play(StreamEvent.OPEN, StreamEvent.START, StreamEvent.CLOSE) is StreamState.CLOSED


@pytest.mark.parametrize("state", StreamState)
def test_open_and_close_are_always_legal(state: StreamState) -> None:
    assert next_stream_state(state, StreamEvent.OPEN) is StreamState.PREPARED
    assert next_stream_state(state, StreamEvent.CLOSE) is StreamState.CLOSED


def test_repeated_start_changes_nothing() -> None:
    assert next_stream_state(StreamState.RUNNING, StreamEvent.START) is StreamState.RUNNING


@pytest.mark.parametrize("event", [StreamEvent.START, StreamEvent.RESUME])
def test_paused_stream_runs_on(event: StreamEvent) -> None:
    assert next_stream_state(StreamState.PAUSED, event) is StreamState.RUNNING


@pytest.mark.parametrize(
    "event", [StreamEvent.START, StreamEvent.PAUSE, StreamEvent.STOP, StreamEvent.RESUME]
)
def test_trigger_before_open_is_illegal(event: StreamEvent) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        next_stream_state(StreamState.CLOSED, event)
    assert str(caught.value) == (f"{event.name} while the stream is CLOSED, allowed OPEN, CLOSE")


@pytest.mark.parametrize("event", [StreamEvent.PAUSE, StreamEvent.RESUME])
def test_stream_that_never_started_can_neither_pause_nor_resume(event: StreamEvent) -> None:
    with pytest.raises(RemoteProtocolError, match="allowed OPEN, CLOSE, START, STOP"):
        next_stream_state(StreamState.PREPARED, event)


def test_stream_table_draws_itself() -> None:
    lines = to_mermaid(STREAM_TABLE).splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    CLOSED --> PREPARED: OPEN" in lines
    assert "    PAUSED --> RUNNING: RESUME, START" in lines
    assert "    RUNNING --> RUNNING: RESUME, START" in lines


def test_handshakes_draw_the_steps_that_lead_somewhere() -> None:
    lines = to_mermaid(BACKEND_TABLE).splitlines()
    assert "    OFFERED --> ANSWERED: INITIALISED / CONNECT" in lines
    assert not any("WAIT" in line.rpartition("/")[2] for line in lines)
    assert "    INITIALISING --> INITIALISED: INIT_WAIT / PUBLISH" in to_mermaid(FRONTEND_TABLE)
