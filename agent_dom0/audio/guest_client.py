"""A guest as the audio server sees it: one client, with the guest's name, icon and label.

The client is connected while an allowed stream is open, because PulseAudio accepts only about 64
connections. When the server goes away, streams run on their clocks, and the client connects again
with a growing delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from agent_dom0.audio.guest_volume import VolumeFile
from agent_dom0.audio.mixer import Mixer
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.parameters import SoundParameters
from xensnd.backoff import BackOff
from xensnd.core import AudioClient, AudioStreamConfig, ClientState, Engine
from xensnd.errors import AudioUnavailable
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0

# A client stays connected for this long after its last stream: the server still plays the end of
# that stream, and the next sound often follows at once.
LINGER_SECONDS = 2.0


class Voice(Protocol):
    """A stream of the guest that wants to sound."""

    def attach(self, client: AudioClient) -> None: ...
    def detach(self) -> None: ...
    def poll(self) -> None:
        """Something happened in the engine."""

    @property
    def audio_error(self) -> str | None:
        """Why its stream at the server failed; None: it did not."""

    @property
    def audio_is_ready(self) -> bool: ...


class GuestClient:
    """Connects the voices that join with the audio server, for as long as they stay.

    `volume_file` keeps the volume and mute that a person has set for the guest.
    """

    def __init__(
        self,
        engine: Engine,
        mixer: Mixer,
        guest: RunningGuest,
        trail: GuestTrail,
        volume_file: VolumeFile,
    ) -> None:
        self.mixer = mixer
        self.guest = guest
        self._engine = engine
        self._trail = trail
        self._volume_file = volume_file
        self.volumes = volume_file.load()
        self._voices: list[Voice] = []
        self._failed: list[Voice] = []  # of these, while the client is connected: tried again
        self._client: AudioClient | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._tried = 0.0  # when, in the loop's time
        self._lost = False

    def set_percent(self, direction: Direction, percent: int) -> None:
        """Keep what a person has set. The caller applies it to the open streams."""
        self.volumes[direction].percent = percent
        self._volume_file.save(self.volumes)

    def set_muted(self, direction: Direction, is_muted: bool) -> None:
        """Keep what a person has set. The caller applies it to the open streams."""
        self.volumes[direction].is_muted = is_muted
        self._volume_file.save(self.volumes)

    def client_properties(self) -> dict[str, str]:
        icon = f"appvm-{self.guest.label}" if self.guest.label else "computer"
        return {
            "application.name": self.guest.name,
            "application.id": f"xensnd.{self.guest.name}",
            "application.icon_name": icon,
            "xensnd.guest": self.guest.name,
            "xensnd.domid": str(self.guest.domid),
            "xensnd.uuid": self.guest.uuid,
            "xensnd.label": self.guest.label,
        }

    def join(self, voice: Voice) -> None:
        if voice in self._voices:
            return
        self._voices.append(voice)
        self._cancel_linger()
        if self._client is not None:
            self._attach(voice, self._client)
        elif self._retry is None:
            self._connect()
        else:
            self._retry_sooner()

    def leave(self, voice: Voice) -> None:
        """Remove the voice, which ends its stream at the server itself."""
        if voice not in self._voices:
            return
        self._voices.remove(voice)
        if voice in self._failed:
            self._failed.remove(voice)
        if not self._voices:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER_SECONDS, self._disconnect)

    def poll(self) -> None:
        """Something happened in the engine."""
        if self._client is None:
            return
        if self._client.state is ClientState.FAILED:
            self._lose(self._client.error)
            return
        for voice in list(self._voices):
            error = voice.audio_error
            if error:
                self._lose_stream(voice, error)
            else:
                voice.poll()
        if self._voices and all(voice.audio_is_ready for voice in self._voices):
            self._note_found()

    def rename(self, guest: RunningGuest) -> None:
        """Connect a new client under the new name. Its streams at the server are new ones too."""
        self.guest = guest
        self._disconnect()
        if self._voices:
            self._connect()

    def close(self, *, forget: bool = False) -> None:
        """Disconnect. `forget`: remove the settings too; otherwise the next agent finds them."""
        self._voices.clear()
        self._disconnect()
        if forget:
            self._volume_file.remove()

    def _connect(self) -> None:
        self._retry = None
        self._tried = asyncio.get_running_loop().time()
        try:
            self._client = AudioClient(self._engine, self.mixer.server, self.client_properties())
        except MemoryError:  # or no file descriptors
            self._lose("no memory or file descriptors are left for a connection")
            return
        for voice in self._voices:
            self._attach(voice, self._client)
        # libpulse may have failed at once, before the callback was set.
        asyncio.get_running_loop().call_soon(self.poll)

    def _reattach(self) -> None:
        self._retry = None
        failed, self._failed = self._failed, []
        for voice in failed:
            if self._client is not None:
                self._attach(voice, self._client)

    def _attach(self, voice: Voice, client: AudioClient) -> None:
        try:
            voice.attach(client)
        except AudioUnavailable as error:
            log.warning("%s: %s", self.guest.name, error)

    def _disconnect(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._cancel_linger()
        self._failed.clear()
        for voice in self._voices:
            voice.detach()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _cancel_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _lose(self, why: str) -> None:
        self._disconnect()
        self._audit_lost(why)
        if self._voices:  # otherwise the next one tries
            self._try_later(self._connect)

    def _lose_stream(self, voice: Voice, why: str) -> None:
        """Connect this stream again later. The guest's other streams go on."""
        voice.detach()
        self._failed.append(voice)
        self._audit_lost(why)
        if self._retry is None:
            self._try_later(self._reattach)

    def _try_later(self, again: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(self._back_off.next_seconds(), again)

    def _retry_sooner(self) -> None:
        """Connect soon for a sound that begins now, but not before the first delay is over."""
        loop = asyncio.get_running_loop()
        if self._retry is not None:
            self._retry.cancel()
        when = max(loop.time(), self._tried + RETRY_FIRST_SECONDS)
        self._retry = loop.call_at(when, self._connect)

    def _audit_lost(self, why: str) -> None:
        if self._lost:
            return
        self._lost = True
        self._audit(
            EventKind.SERVER_LOST,
            f"audio server {self.mixer.server or 'of this session'}: {why}; "
            "sound continues when it is back",
            Priority.WARNING,
        )

    def _note_found(self) -> None:
        self._back_off.reset()
        if self._lost:
            self._lost = False
            self._audit(EventKind.SERVER_FOUND, "the audio server is back", Priority.NOTICE)

    def _audit(self, kind: EventKind, text: str, priority: Priority) -> None:
        self._trail.append(guest_event(kind, self.guest.name, self.guest.domid, text, priority))


def stream_config(
    guest: RunningGuest,
    parameters: SoundParameters,
    device: str | None,
    *,
    playback: bool,
    is_pinned: bool,
    latency_usec: int,
    volume: tuple[float, ...] | None,
    muted: bool | None,
) -> AudioStreamConfig:
    """Return the configuration of a guest's stream: its name, and the key under which the server
    remembers its volume.

    `device`: None lets the server choose. `is_pinned`: the stream may use no other device."""
    what = "playback" if playback else "capture"
    return AudioStreamConfig(
        playback=playback,
        name=f"{guest.name} {what}",
        pulse_format=parameters.sample_format.pulse_name or "",
        rate_hz=parameters.rate_hz,
        channels=parameters.channels,
        latency_usec=latency_usec,
        device=device,
        is_pinned=is_pinned,
        volume=volume,
        muted=muted,
        properties={
            "module-stream-restore.id": f"xensnd-{what}:{guest.name}",
            "media.icon_name": "audio-card" if playback else "audio-input-microphone",
        },
    )
