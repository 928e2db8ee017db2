"""A guest as the audio server sees it: its streams there, with the guest's name, icon and label.

The guest is on a connection while an allowed stream is open. When the server goes away, its streams
run on their clocks until the connection is there again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Protocol

from agent_dom0.audio.connections import Connection, Connections
from agent_dom0.audio.guest_volume import VolumeFile
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audio.places import NO_PLACE
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.parameters import SoundParameters
from xensnd.backoff import BackOff
from xensnd.core import AudioClient, AudioStreamConfig
from xensnd.errors import AudioUnavailable
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0

# A guest stays on its connection for this long after its last stream: the server still plays the
# end of that stream, and the next sound often follows at once.
LINGER_SECONDS = 2.0


class Voice(Protocol):
    """A stream of the guest that wants to sound."""

    @property
    def direction(self) -> Direction: ...
    def attach(self, client: AudioClient) -> None: ...
    def detach(self) -> None: ...
    def poll(self) -> None:
        """Something happened in the engine."""

    def tell_limit(self, text: str) -> None:
        """Audit that the stream waits for this reason."""

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
        connections: Connections,
        mixer: Mixer,
        guest: RunningGuest,
        trail: GuestTrail,
        volume_file: VolumeFile,
    ) -> None:
        self.mixer = mixer
        self.guest = guest
        self._connections = connections
        self._places = connections.places
        self._trail = trail
        self._volume_file = volume_file
        self.volumes = volume_file.load()
        self._voices: list[Voice] = []
        self._failed: dict[Voice, str] = {}  # tried again, and why; while the guest is connected
        self._connection: Connection | None = None
        self._client: AudioClient | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._why_lost: str | None = None
        self._places.add_guest(self)

    def set_percent(self, direction: Direction, percent: int) -> None:
        """Keep what a person has set. The caller applies it to the open streams."""
        self.volumes[direction].percent = percent
        self._volume_file.save(self.volumes)

    def set_muted(self, direction: Direction, is_muted: bool) -> None:
        """Keep what a person has set. The caller applies it to the open streams."""
        self.volumes[direction].is_muted = is_muted
        self._volume_file.save(self.volumes)

    def properties(self) -> dict[str, str]:
        return guest_properties(self.guest)

    def join(self, voice: Voice) -> None:
        if voice in self._voices:
            return
        self._voices.append(voice)
        self._cancel_linger()
        if self._connection is None:
            self._connection = self._connections.join(self)
        elif self._client is not None:
            self._attach(voice)
        else:
            self._connection.retry_sooner()

    def expect(self) -> None:
        """Connect now, for a voice that joins soon."""
        if self._connection is None:
            self._connection = self._connections.join(self)
            self._linger_on()

    def leave(self, voice: Voice) -> None:
        """Remove the voice, which ends its stream at the server itself."""
        if voice not in self._voices:
            return
        self._voices.remove(voice)
        self._failed.pop(voice, None)
        self._places.give_back(voice.direction, voice)
        if not self._voices and self._connection is not None:
            self._linger_on()

    def why_silent(self, voice: Voice) -> str | None:
        """Return why the voice is not at the server, in words; None: it is, or will be soon."""
        if self._places.waits(voice.direction, voice):
            return NO_PLACE
        return self._failed.get(voice, self._why_lost)

    def poll(self) -> None:
        """Something happened in the engine."""
        if self._connection is not None:
            self._connection.poll()
        if self._client is None:
            return
        for voice in list(self._voices):
            error = voice.audio_error
            if error:
                self._lose_stream(voice, error)
            else:
                voice.poll()
        placed = [each for each in self._voices if not self._places.waits(each.direction, each)]
        if placed and all(voice.audio_is_ready for voice in placed):
            self._note_found()

    def rename(self, guest: RunningGuest) -> None:
        """Connect under the new name. The guest's streams at the server are new ones too."""
        self.guest = guest
        self._disconnect()
        if self._voices:
            self._connection = self._connections.join(self)

    def drop(self) -> None:
        """The engine that has the connection has ended."""
        self._disconnect()

    def close(self, *, forget: bool = False) -> None:
        """Disconnect. `forget`: remove the settings too; otherwise the next agent finds them."""
        for voice in self._voices:
            self._places.give_back(voice.direction, voice)
        self._voices.clear()
        self._disconnect()
        self._places.remove_guest(self)
        if forget:
            self._volume_file.remove()

    # What the connection asks of it

    def connected(self, client: AudioClient) -> None:
        self._client = client
        for voice in list(self._voices):
            self._attach(voice)

    def lost(self, why: str) -> None:
        self._detach_all()
        self._audit_lost(f"{why}; sound continues when it is back")
        if not self._voices:
            self._disconnect()  # the next one connects again

    def _attach(self, voice: Voice) -> None:
        if self._client is None or voice not in self._voices:
            return
        waited = self._places.waits(voice.direction, voice)
        if not self._places.take(voice.direction, voice, self, partial(self._attach, voice)):
            if not waited:
                voice.tell_limit(NO_PLACE)
            return
        try:
            voice.attach(self._client)
        except AudioUnavailable as error:
            log.warning("%s: %s", self.guest.name, error)

    def _disconnect(self) -> None:
        self._cancel_linger()
        self._detach_all()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._connections.leave(self, connection)

    def _detach_all(self) -> None:
        self._client = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._failed.clear()
        for voice in self._voices:
            voice.detach()
            self._places.give_back(voice.direction, voice)

    def _linger_on(self) -> None:
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(LINGER_SECONDS, self._disconnect)

    def _cancel_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _lose_stream(self, voice: Voice, why: str) -> None:
        """Connect this stream again later. The guest's other streams go on."""
        voice.detach()
        self._places.give_back(voice.direction, voice)
        self._failed[voice] = why
        self._audit_lost(f"{why}; the stream is tried again")
        if self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(self._back_off.next_seconds(), self._reattach)

    def _reattach(self) -> None:
        self._retry = None
        failed = list(self._failed)
        self._failed.clear()
        for voice in failed:
            self._attach(voice)

    def _audit_lost(self, why: str) -> None:
        if self._why_lost is not None:
            return
        self._why_lost = f"audio server {self._connections.server or 'of this session'}: {why}"
        self._audit(EventKind.SERVER_LOST, self._why_lost, Priority.WARNING)

    def _note_found(self) -> None:
        self._back_off.reset()
        if self._why_lost is not None:
            self._why_lost = None
            self._audit(EventKind.SERVER_FOUND, "the audio server is back", Priority.NOTICE)

    def _audit(self, kind: EventKind, text: str, priority: Priority) -> None:
        self._trail.append(guest_event(kind, self.guest.name, self.guest.domid, text, priority))


def guest_properties(guest: RunningGuest) -> dict[str, str]:
    """Return what the audio server knows a guest by: of its own connection, and of each stream."""
    return {
        "application.name": guest.name,
        "application.id": f"xensnd.{guest.name}",
        "application.icon_name": f"appvm-{guest.label}" if guest.label else "computer",
        "xensnd.guest": guest.name,
        "xensnd.domid": str(guest.domid),
        "xensnd.uuid": guest.uuid,
        "xensnd.label": guest.label,
    }


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
        guest=guest.domid,
        properties={
            **guest_properties(guest),
            "module-stream-restore.id": f"xensnd-{what}:{guest.name}",
        },
    )
