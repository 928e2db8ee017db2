"""What the core does for a stream of a guest, whatever ring it comes from: see sound.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ._core import ffi, lib
from .audio_client import Admission, AudioClient, AudioStreamConfig, text
from .gate import deadline

SOURCE_NAME_OCTETS = 512  # libpulse's names are shorter


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Counts since the stream was opened. `discarded_octets`: for playback, samples that nobody
    heard; for capture, silence instead of samples."""

    requests: int
    refused: int
    octets: int
    discarded_octets: int
    # Playback: overwritten when it was too late. Capture over vchan: lost, as the guest reads late.
    late_octets: int
    position_octets: int
    buffered_octets: int
    gaps: int
    stalled: int
    server_latency_usec: int  # -1: not known


class SoundCore(Protocol):
    """The core's part of a stream: BackendStream for sndif."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def attach_audio(self, client: AudioClient, config: AudioStreamConfig) -> None:
        """Connect the open stream to the audio server. AudioUnavailable: it cannot be."""

    def detach_audio(self) -> None:
        """Let it run on its clock: playback is discarded, and capture is silence."""

    def open_gate(self, until_usec: int | None = None) -> None:
        """Let microphone data into the guest's memory, until `until_usec` in microseconds of
        time.monotonic(), or until close_gate(). The engine follows the time itself. Playback does
        not use it."""

    def close_gate(self) -> None:
        """Give the guest silence. After this returns, no microphone data passes. Does not wait for
        the engine's lock."""

    @property
    def source(self) -> tuple[int, str] | None:
        """Return index and name of the source that is recorded; None: it is not known."""

    def admit_source(self, index: int, name: str) -> Admission:
        """Admit this source, if the stream is connected to it. Until then the guest gets silence,
        and again after the server has moved the stream to another source."""

    def admit_microphone(self, index: int, name: str) -> Admission:
        """Admit it only if the server has told the core by now that it is not the monitor of a
        sink."""

    @property
    def audio_error(self) -> str | None:
        """Return why the stream at the audio server failed; None: it did not."""

    @property
    def audio_index(self) -> int | None:
        """Return the server's index of the sink input or source output."""

    def recent(self, octets: int) -> bytes: ...
    def stats(self) -> BackendStats: ...


class SoundHere:
    """The part of SoundCore that is the same for each front. `sound` is a struct xn_sound."""

    def __init__(self, sound: Any) -> None:
        self._sound = sound

    def open_gate(self, until_usec: int | None = None) -> None:
        lib.xn_sound_open_gate(self._sound, deadline(until_usec))

    def close_gate(self) -> None:
        lib.xn_sound_close_gate(self._sound)

    @property
    def source(self) -> tuple[int, str] | None:
        index = ffi.new("uint32_t *")
        name = ffi.new("char[]", SOURCE_NAME_OCTETS)
        if not lib.xn_sound_source(self._sound, index, name, SOURCE_NAME_OCTETS):
            return None
        return int(index[0]), text(name)

    def admit_source(self, index: int, name: str) -> Admission:
        return Admission(lib.xn_sound_admit_source(self._sound, index, name.encode()))

    def admit_microphone(self, index: int, name: str) -> Admission:
        return Admission(lib.xn_sound_admit_microphone(self._sound, index, name.encode()))

    @property
    def audio_error(self) -> str | None:
        error = ffi.new("const char **")
        return text(error[0]) if lib.xn_sound_has_failed(self._sound, error) else None

    @property
    def audio_index(self) -> int | None:
        index = int(lib.xn_sound_index(self._sound))
        return None if index == 0xFFFFFFFF else index
