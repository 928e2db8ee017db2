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


class CoreOfRecording:
    audio_error = None

    def __init__(self) -> None:
        self.audio_index: int | None = None
        self.source: tuple[int, str] | None = None
        self.knows_microphone = False  # that the source is no monitor
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

    def admit_microphone(self, index: int, name: str) -> Admission:
        if not self.knows_microphone:
            return Admission.NOT_ITS_SOURCE
        return self.admit_source(index, name)


class ToldMixer:
    """It tells of the stream what the test says."""

    def __init__(self) -> None:
        self.tell: Callable[[MixerState], None] | None = None

    def follow(
        self, _direction: Direction, _index: int, tell: Callable[[MixerState], None]
    ) -> ToldMixer:
        self.tell = tell
        return self

    def tell_source(self, source: AudioDevice) -> None:
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
    """`device`: the only one from which the rule lets it record."""

    def __init__(self, device: str | None = None) -> None:
        self.core, self.mixer, self.events = CoreOfRecording(), ToldMixer(), ListedEvents()
        self.stream = ServerStream(
            cast(SoundCore, self.core),
            cast(GuestClient, OneGuest(self.mixer)),
            Direction.CAPTURE,
            cast(SoundParameters, VchanSound(8192)),
            cast(StreamVolume, NoVolume()),
            cast(Auditor, self.events),
        )
        self.stream.sound(Options(device=device), 20_000)
        self.stream.poll()

    def know_microphone(self) -> None:
        """The server describes the source to the core."""
        self.core.knows_microphone = True
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


def test_microphone_that_the_core_knows_is_admitted_before_the_mixer_tells() -> None:
    async def test() -> None:
        scene = RecordingScene()
        scene.know_microphone()
        assert scene.is_live
        scene.mixer.tell_source(MICROPHONE)
        assert scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_ADMITTED]

    run(test())


def test_microphone_that_is_not_the_device_of_the_rule_is_not_admitted() -> None:
    async def test() -> None:
        scene = RecordingScene(device="headset")
        scene.know_microphone()
        assert not scene.is_live

    run(test())


def test_microphone_that_the_mixer_was_told_is_a_monitor_is_silent_again() -> None:
    async def test() -> None:
        scene = RecordingScene()
        scene.know_microphone()
        scene.core.knows_microphone = False
        scene.mixer.tell_source(MONITOR)
        assert not scene.is_live
        scene.stream.poll()  # the stream that takes its place
        scene.mixer.tell_source(MONITOR)
        assert not scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_ADMITTED, EventKind.SOURCE_REFUSED]

    run(test())


def test_monitor_that_the_mixer_has_told_of_is_not_admitted_by_the_core() -> None:
    async def test() -> None:
        scene = RecordingScene()
        scene.mixer.tell_source(MONITOR)
        scene.know_microphone()
        assert not scene.is_live
        assert scene.events.kinds == [EventKind.SOURCE_REFUSED]

    run(test())
