"""What the core knows of the source that a recording is connected to, without the mixer: whether
the audio server has described it as a microphone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.core_stream import Setting, config, until
from tests.support.pulse_server import SINK, SOURCE, PulseServer
from xensnd.core import Admission, AudioClient, AudioStreamConfig, Engine

MONITOR = f"{SINK}.monitor"
MONITORS = {
    MONITOR: None,
    "room.monitor": "source_name=room.monitor",
    "room": "source_name=room source_properties=device.class=monitor",
}


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    with PulseServer(tmp_path / "pulse") as pulse:
        yield pulse


class Recordings:
    """Streams of one client, each on a source."""

    def __init__(self, stack: ExitStack, pulse: PulseServer) -> None:
        self.engine = stack.enter_context(closing(Engine()))
        self._stack = stack
        self._client = stack.enter_context(closing(AudioClient(self.engine, pulse.address, {})))

    def record(self, source: str) -> Setting:
        setting = Setting(playback=False, engine=self.engine)
        self._stack.callback(setting.end)
        setting.open(config())
        setting.backend.attach_audio(
            self._client,
            AudioStreamConfig(
                playback=False,
                name=source,
                pulse_format="s16le",
                rate_hz=48000,
                channels=2,
                latency_usec=20_000,
                device=source,
            ),
        )
        _, name = until(self.engine, lambda: setting.backend.source) or (0, "")
        assert name == source
        return setting

    def await_microphone(self, source: str = SOURCE) -> None:
        """Until it is known to be one. So is by then what the server was asked before."""
        recording = self.record(source)
        until(self.engine, lambda: admit(recording) is Admission.ADMITTED)


def admit(recording: Setting) -> Admission:
    source = recording.backend.source
    assert source is not None
    return recording.backend.admit_microphone(*source)


@pytest.fixture
def recordings(pulse: PulseServer) -> Iterator[Recordings]:
    with ExitStack() as stack:
        yield Recordings(stack, pulse)


@pytest.mark.parametrize("name", MONITORS)
def test_microphone_is_admitted_and_what_has_a_mark_of_a_monitor_is_not(
    pulse: PulseServer, recordings: Recordings, name: str
) -> None:
    arguments = MONITORS[name]
    if arguments is not None:
        with pulse.mixer() as mixer:
            mixer.module_load("module-remap-source", f"{arguments} master={SOURCE}")
    monitor = recordings.record(name)
    recordings.await_microphone()
    assert admit(monitor) is Admission.NOT_ITS_SOURCE


def test_microphone_is_admitted_under_its_own_name_and_number_alone(
    recordings: Recordings,
) -> None:
    recording = recordings.record(SOURCE)
    recordings.await_microphone()
    index, name = recording.backend.source or (0, "")
    for other in ((index + 1, name), (index, MONITOR)):
        assert recording.backend.admit_microphone(*other) is Admission.NOT_ITS_SOURCE
    assert recording.backend.admit_microphone(index, name) is Admission.ADMITTED


def test_recording_that_was_moved_to_a_monitor_is_of_no_microphone(
    pulse: PulseServer, recordings: Recordings
) -> None:
    recording = recordings.record(SOURCE)
    until(recordings.engine, lambda: admit(recording) is Admission.ADMITTED)
    with pulse.mixer() as mixer:
        monitor = next(each.index for each in mixer.source_list() if each.name == MONITOR)
        mixer.source_output_move(recording.backend.audio_index, monitor)
    until(recordings.engine, lambda: recording.backend.source == (monitor, MONITOR))
    recordings.await_microphone()
    assert admit(recording) is Admission.NOT_ITS_SOURCE
