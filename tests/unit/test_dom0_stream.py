"""One stream of a card, with an access and an audio side that do nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_dom0.audio.guest_volume import GuestVolume
from agent_dom0.audio.mixer import AudioDevice
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.cards.card_stream import FAULTS_MAX, CardStream
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.events import Event, EventKind, Priority
from agent_dom0.parameters import Limits, SoundParameters
from policy.model import NO_OPTIONS, Decision, Direction, Options, Rule, Verb
from tests.support.core_stream import PAGE_OCTETS, Guest, Memory, fd_pair, until
from xensnd.control.answers import Answer
from xensnd.core import BackendStream, Engine
from xensnd.errors import AccessDenied, RemoteProtocolError
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import (
    Close,
    Open,
    Request,
    Status,
    Trigger,
    TriggerRequest,
    decode_request,
)
from xensnd.sndif.states import StreamState
from xensnd.sndif.store_fields import StreamConfig, StreamRings
from xensnd.transport.interface import Pages

OPEN = Open(48000, SampleFormat.S16_LE, 2, 19200, 4800, 1)
CONFIG = StreamConfig(0, Direction.CAPTURE, rates=(48000,), formats=(SampleFormat.S16_LE,))
START, PAUSE = TriggerRequest(Trigger.START), TriggerRequest(Trigger.PAUSE)
RINGS = StreamRings(1, 2, 3, 4)
ALLOWED = Decision(Verb.ALLOW, None, "a test says so")
DENIED = Decision(Verb.DENY, None, "a test says so")


class Buffer:
    """In the place of the pages that a guest shares at OPEN."""

    refs: tuple[int, ...] = ()

    def __init__(self, octets: int) -> None:
        self._memory = Memory(octets)
        self.address, self.octets = self._memory.address, octets

    def close(self) -> None:
        self._memory.unmap()


class Link:
    """Memory and channels of this process, in the place of a guest's."""

    rings = RINGS

    def __init__(
        self, engine: Engine, ring: Memory, events_page: Memory, path: Path, name: str
    ) -> None:
        self.requests, self.guest_requests = fd_pair()
        self.events, self.guest_events = fd_pair()
        self.saved = SavedState(path, "uuid", lambda: name)
        self.buffers: list[Buffer] = []
        self.core = BackendStream(
            engine,
            playback=False,
            ring_address=ring.address,
            event_address=events_page.address,
            requests=self.requests,
            events=self.events,
            pcm_address=self.saved.pcm_address,
        )

    def map_buffer(self, request: Open) -> Pages:
        self.buffers.append(Buffer(request.buffer_octets))
        return self.buffers[-1]

    def close(self, *, keep: bool) -> None:
        self.core.close()
        if not keep:
            self.saved.remove()
        self.saved.close()
        for fds in (self.requests, self.guest_requests):
            os.close(fds.wait_fd)
        for fds in (self.events, self.guest_events):
            os.close(fds.wait_fd)


class Access:
    """Decides as it is told, and notes what it was asked."""

    def __init__(self) -> None:
        self.options: Options = NO_OPTIONS
        self.admits = True
        self.is_denied = False
        self.decision = ALLOWED
        self.asked: list[str] = []
        self.answer: Answer | None = None

    def admit(self, _parameters: SoundParameters) -> None:
        self.asked.append("admit")
        if not self.admits:
            raise AccessDenied("a test says so")

    def open(self, _parameters: SoundParameters, answer: Answer | None = None) -> Decision:
        self.asked.append("open")
        self.answer = answer
        return self.decision

    def follow(
        self, _parameters: SoundParameters, _held: Decision, *, starts: bool = False
    ) -> Decision:
        self.asked.append("start" if starts else "follow")
        return self.decision

    def close(self, *, goes_on: bool = False) -> None:
        self.asked.append("leave" if goes_on else "close")


class NoAudio:
    """Notes whether it is to sound; nothing does."""

    is_connected = False
    why_silent: str | None = None
    device: AudioDevice | None = None
    on_connected: Callable[[], None]

    def __init__(self, core: BackendStream, channels: int) -> None:
        self.volume = StreamVolume(channels, GuestVolume(), core.peek, core.poke)
        self.sounds = False

    def connect(self) -> None:
        self.is_connected = True
        self.on_connected()

    def sound(self, _options: Options, _latency_usec: int) -> None:
        self.sounds = True

    def silence(self) -> None:
        self.sounds = False

    def end(self) -> None:
        self.sounds = False


class Audit:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]

    def tell(
        self,
        kind: EventKind,
        text: str,
        priority: Priority = Priority.INFO,
        **fields: str | int,
    ) -> bool:
        self.events.append(Event(kind, text, priority, fields))
        return True

    def tell_limit(self, text: str) -> None:
        self.events.append(Event(EventKind.LIMIT_HIT, text))


class Scene:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "stream"
        self.engine = Engine()
        self.ring, self.events_page = Memory(PAGE_OCTETS), Memory(PAGE_OCTETS)
        self.ring.words[1] = self.ring.words[3] = 1  # as SHARED_RING_INIT leaves it
        self.access, self.audit = Access(), Audit()
        self.audios: list[NoAudio] = []  # one for each PCM that was opened
        self.begin(adopt=False)
        self.guest = Guest(
            self.ring, self.events_page, self.link.guest_requests, self.link.guest_events
        )

    def begin(self, *, adopt: bool, name: str = "work") -> None:
        """`name` is the guest's."""
        self.link = Link(self.engine, self.ring, self.events_page, self.path, name)
        self.stream = CardStream(
            "0/1", CONFIG, self.link, self.access, self._new_audio, self.audit, Limits()
        )
        self.stream.begin(adopt=adopt)

    @property
    def sounds(self) -> bool:
        return any(audio.sounds for audio in self.audios)

    def _new_audio(self, request: SoundParameters) -> NoAudio:
        self.audios.append(NoAudio(self.link.core, request.channels))
        return self.audios[-1]

    def ask(self, request: Request) -> int:
        """The status that the guest is told."""
        self.guest.send(request)
        packet = until(self.engine, self.stream.next_request)
        assert packet is not None
        assert decode_request(packet)[1] == request
        self.stream.answer(packet)
        return self.guest.await_answers(1)[0].status

    def close(self) -> None:
        self.stream.close()
        self.engine.close()
        self.ring.unmap()
        self.events_page.unmap()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_stream_that_is_allowed_sounds_while_it_is_open(scene: Scene) -> None:
    assert not scene.stream.is_open
    assert scene.ask(OPEN) == Status.OK
    assert scene.stream.is_open
    assert scene.stream.state is StreamState.PREPARED
    assert scene.sounds
    assert scene.ask(Close()) == Status.OK
    assert not scene.stream.is_open
    assert scene.stream.state is StreamState.CLOSED
    assert not scene.sounds
    assert scene.access.asked == ["admit", "open", "close"]
    assert scene.audit.kinds == [EventKind.STREAM_OPENED, EventKind.STREAM_CLOSED]


def test_stream_that_is_not_admitted_is_not_open_and_maps_nothing(scene: Scene) -> None:
    scene.access.admits = False
    assert scene.ask(OPEN) == Status.EACCES
    assert not scene.stream.is_open
    assert scene.link.buffers == []
    assert scene.access.asked == ["admit"]


def test_stream_sounds_and_is_silent_as_it_is_decided(scene: Scene) -> None:
    scene.access.decision = DENIED
    scene.ask(OPEN)
    assert not scene.sounds
    assert not scene.stream.is_allowed
    for decision, sounds in ((ALLOWED, True), (DENIED, False)):
        scene.access.decision = decision
        scene.stream.decide()
        assert scene.sounds is sounds
        assert scene.stream.is_open


def test_stream_that_is_closed_is_not_decided_about(scene: Scene) -> None:
    scene.stream.decide()
    assert scene.access.asked == []


def test_stream_runs_from_start_to_pause_and_says_so_once(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(START)
    scene.ask(START)
    assert scene.stream.is_running
    assert scene.access.asked == ["admit", "open", "start"]
    scene.audios[0].connect()
    scene.audios[0].connect()
    scene.ask(PAUSE)
    assert scene.stream.state is StreamState.PAUSED
    assert scene.audit.kinds == [
        EventKind.STREAM_OPENED,
        EventKind.STREAM_STARTED,
        EventKind.STREAM_STOPPED,
    ]


def test_stream_that_is_allowed_has_started_when_the_server_has_it(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(START)
    assert EventKind.STREAM_STARTED not in scene.audit.kinds
    scene.audios[0].connect()
    assert EventKind.STREAM_STARTED in scene.audit.kinds


def test_stream_that_the_server_never_had_has_neither_started_nor_stopped(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(START)
    scene.ask(PAUSE)
    scene.audios[0].connect()
    assert scene.audit.kinds == [EventKind.STREAM_OPENED]


def test_stream_that_is_denied_has_started_on_its_clock(scene: Scene) -> None:
    scene.access.decision = DENIED
    scene.ask(OPEN)
    scene.ask(START)
    assert scene.audit.kinds == [EventKind.STREAM_OPENED, EventKind.STREAM_STARTED]


def test_second_open_takes_the_place_of_the_first(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(START)
    assert scene.ask(OPEN) == Status.OK
    assert scene.stream.state is StreamState.PREPARED
    assert scene.access.asked == ["admit", "open", "start", "close", "admit", "open"]


def test_trigger_of_a_closed_stream_is_a_fault_and_too_many_end_the_session(scene: Scene) -> None:
    for _ in range(FAULTS_MAX - 1):
        assert scene.ask(START) == Status.EINVAL
    assert scene.audit.kinds == [EventKind.PROTOCOL_VIOLATION]
    with pytest.raises(RemoteProtocolError, match="64 requests were invalid"):
        scene.ask(START)


def test_withdrawn_stream_answers_with_errors_until_it_is_closed(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.stream.withdraw()
    assert not scene.stream.is_open
    assert scene.stream.is_held
    assert scene.ask(START) == Status.EIO
    assert scene.ask(Close()) == Status.OK
    assert not scene.stream.is_held


def test_open_stream_is_taken_over_as_it_stands(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(START)
    scene.link.saved.save_answer(Answer.ONCE)
    scene.stream.hand_over()
    assert "close" not in scene.access.asked
    scene.begin(adopt=True)
    assert scene.stream.is_running
    assert scene.access.answer is Answer.ONCE
    assert scene.audit.kinds[-1] is EventKind.STREAM_TAKEN_OVER


def test_answer_about_another_name_is_not_taken_over(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.link.saved.save_answer(Answer.ONCE)
    scene.stream.hand_over()
    scene.begin(adopt=True, name="untrusted")
    assert scene.stream.is_open
    assert scene.access.answer is None


def test_stream_that_was_closed_is_not_taken_over(scene: Scene) -> None:
    scene.ask(OPEN)
    scene.ask(Close())
    scene.stream.hand_over()
    scene.begin(adopt=True)
    assert not scene.stream.is_open


def test_gate_closes_by_itself_when_the_rule_ends_that_allows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_usec: list[int | None] = []
    monkeypatch.setattr(
        BackendStream, "open_gate", lambda _, until_usec=None: ends_usec.append(until_usec)
    )
    rule = Rule("work", None, Verb.ALLOW, Path("40-grants.yaml"), 3, 5)
    grant = replace(rule, ends=datetime.now(UTC) + timedelta(seconds=60))
    scene.access.decision = Decision(Verb.ALLOW, grant, "a test says so")
    scene.ask(OPEN)
    assert ends_usec[-1] == pytest.approx((time.monotonic() + 60) * 1e6, abs=5e6)
    scene.access.decision = Decision(Verb.ALLOW, rule, "a test says so")
    scene.stream.decide()
    assert ends_usec[-1] is None


def test_gate_of_what_is_denied_closes_before_it_is_decided(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[BackendStream] = []

    def close_gate(core: BackendStream) -> None:
        closed.append(core)

    monkeypatch.setattr(BackendStream, "close_gate", close_gate)
    scene.ask(OPEN)
    scene.stream.close_denied_gate()
    assert not closed
    scene.access.is_denied = True
    scene.stream.close_denied_gate()
    assert closed == [scene.link.core]
    assert "follow" not in scene.access.asked
