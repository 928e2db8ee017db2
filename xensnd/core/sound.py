"""What the core does for a stream of a guest, whatever ring it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .audio_client import Admission, AudioClient, AudioStreamConfig


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

    def open_gate(self, until_usec: int | None = None) -> None: ...
    def close_gate(self) -> None:
        """Give the guest silence. After this returns, no microphone data passes."""

    @property
    def source(self) -> tuple[int, str] | None: ...
    def admit_source(self, index: int, name: str) -> Admission: ...
    def admit_microphone(self, index: int, name: str) -> Admission:
        """Admit it only if the core knows already that it is not the monitor of a sink."""

    @property
    def audio_error(self) -> str | None: ...
    @property
    def audio_index(self) -> int | None: ...
    def recent(self, octets: int) -> bytes: ...
    def stats(self) -> BackendStats: ...
