"""When a recording's source is admitted: with a core and a mixer that do as the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.mixer import AudioDevice, MixerState
from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.events import Auditor, EventKind
from agent_dom0.guest import RunningGuest
from agent_dom0.parameters import SoundParameters
from policy.model import Options
from tests.unit.fake_clock import run
from xensnd.core import Admission, AudioClient, SoundCore
from xensnd.sndif.store_fields import Direction
from xensnd.vchan.sound import VchanSound

MICROPHONE = AudioDevice(3, "microphone", "Microphone", is_monitor=False, is_default=True)
MONITOR = AudioDevice(3, "microphone", "Microphone", is_monitor=True)
OPTIONS = Options()


class CoreOfRecording:
    audio_error = None

    def __init__(self) -> None:
        self.audio_index: int | None = None
        self.source: tuple[int, str] | None = None
        self.admitted: list[tuple[int, str]] = []

    def attach_audio(self, _client: object, _config: object) -> None:
        self.audio_index, self.source, self.admitted = 7, (3, "microphone"), []

    def detach_audio(self) -> None:
        self.audio_index = self.source = None
        self.admitted = []

    def admit_source(self, index: int, name: str) -> Admission:
        if self.source != (index, name):
            return Admission.NOT_ITS_SOURCE
        self.admitted.append((index, name))
        return Admission.ADMITTED


class ToldMixer:
    """It tells of the stream what the test says."""

    def __init__(self, *known: AudioDevice) -> None:
        self.known = {source.index: source for source in known}
        self.tell: Callable[[MixerState], None] | None = None

    def expect(self) -> None:
        pass

    def follow(
        self, _direction: Direction, _index: int, tell: Callable[[MixerState], None]
    ) -> ToldMixer:
        self.tell = tell
        return self

    def known_source(self, index: int, name: str) -> AudioDevice | None:
        source = self.known.get(index)
        return source if source is not None and source.name == name else None

    def tell_source(self, source: AudioDevice) -> None:
        self.known[source.index] = source
        assert self.tell is not None
        self.tell(MixerState((1.0,), is_muted=False, device=source))

    def poll(self) -> None:
        pass

    def end(self) -> None:
        self.tell = None


class OneGuest:
    guest = RunningGuest(5, "work")

    def __init__(self, mixer: ToldMixer) -> None:
        self.mixer = mixer

    def join(self, stream: ServerStream) -> None:
        stream.attach(cast(AudioClient, None))

    def leave(self, _stream: ServerStream) -> None:
        pass


class NoVolume:
    wanted_volume = wanted_mute = None

    def attach(self, _stream: object) -> None:
        pass

    def update(self, _state: object) -> None:
        pass

    def detach(self) -> None:
        pass


class ListedEvents:
    def __init__(self) -> None:
        self.kinds: list[EventKind] = []

    def tell(self, kind: EventKind, *_: object, **__: object) -> None:
        self.kinds.append(kind)


class RecordingScene:
    def __init__(self, *known: AudioDevice) -> None:
        self.core, self.mixer, self.events = CoreOfRecording(), ToldMixer(*known), ListedEvents()
        self.stream = ServerStream(
            cast(SoundCore, self.core),
            cast(GuestClient, OneGuest(self.mixer)),
            Direction.CAPTURE,
            cast(SoundParameters, VchanSound(8192)),
            cast(StreamVolume, NoVolume()),
            cast(Auditor, self.events),
        )
        self.stream.sound(OPTIONS, 20_000)
        self.stream.poll()

    @property
    def is_live(self) -> bool:
        return self.core.admitted != [] and self.stream.is_connected


def test_source_is_admitted_when_the_mixer_tells_what_it_is() -> None:
    async def test() -> None:
        scene = RecordingScene()
        assert not scene.is_live
        scene.mixer.tell_source(MICROPHONE)
        assert scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_ADMITTED]

    run(test())


def test_source_that_the_server_has_described_before_is_admitted_at_once() -> None:
    async def test() -> None:
        scene = RecordingScene(MICROPHONE)
        assert scene.is_live
        scene.mixer.tell_source(MICROPHONE)
        assert scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_ADMITTED]

    run(test())


def test_monitor_that_the_server_has_described_before_is_not_admitted() -> None:
    async def test() -> None:
        scene = RecordingScene(MONITOR)
        assert not scene.is_live
        scene.mixer.tell_source(MONITOR)
        assert not scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_REFUSED]

    run(test())


def test_source_of_another_name_is_not_the_one_that_was_described() -> None:
    async def test() -> None:
        other = AudioDevice(3, "line_in", "Line in", is_monitor=False)
        assert not RecordingScene(other).is_live

    run(test())


def test_source_that_turns_out_to_be_a_monitor_is_silent_again() -> None:
    async def test() -> None:
        scene = RecordingScene(MICROPHONE)
        scene.mixer.tell_source(MONITOR)
        assert not scene.is_live
        scene.stream.poll()  # the stream that takes its place
        scene.mixer.tell_source(MONITOR)
        assert not scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_ADMITTED, EventKind.SOURCE_REFUSED]

    run(test())
