"""A guest's open stream at the audio server: its connection, its volume, and what it records.

A guest gets the sound of a source only when the source is known and is not the monitor of a sink.
A monitor would give it what other guests play. Until then, and again from the moment that the
server moves the stream, the core gives silence; see xn_audio_admit_source().

The core asks the server what the source is as soon as the stream is there, so a recording that is
taken over goes on at once. The mixer asks too, and what it is told is checked all the same. Only by
that a monitor is admitted, where a rule names it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from agent_dom0.audio.guest_client import GuestClient, stream_config
from agent_dom0.audio.mixer import AudioDevice, MixerState, MixerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.events import Auditor, EventKind, Priority
from agent_dom0.parameters import SoundParameters
from policy.model import NO_OPTIONS, Options
from xensnd.core import Admission, AudioClient, SoundCore
from xensnd.sndif.store_fields import Direction

RECONNECT_SECONDS = 0.1


def why_refused(source: AudioDevice, options: Options) -> str | None:
    """Return why nothing of this source may reach the guest; None: it may."""
    if options.device is not None and source.name != options.device:
        return f"is not {options.device}, the device of the rule"
    if source.is_monitor and not options.allows_monitor:
        return "is a monitor, which records what others play"
    return None


def _do_nothing() -> None:
    pass


class ServerStream:
    """One open stream at the server. It is connected while it may sound: sound(), silence()."""

    def __init__(
        self,
        core: SoundCore,
        client: GuestClient,
        direction: Direction,
        parameters: SoundParameters,
        volume: StreamVolume,
        audit: Auditor,
    ) -> None:
        self.device: AudioDevice | None = None  # that it plays into, or records
        self.on_connected: Callable[[], None] = _do_nothing
        self._core = core
        self._client = client
        self._direction = direction
        self._parameters = parameters
        self._audit = audit
        self._options = NO_OPTIONS
        self._latency_usec = 0
        self._stream: MixerStream | None = None
        self._source: tuple[int, str] | None = None  # as the core has it
        self._is_admitted = False
        self._next_device: str | None = None  # for the next connection alone
        self._reconnected_at = -math.inf  # when, in the loop's time
        self._audited: tuple[str, str | None] | None = None  # the source, and why it was refused
        self.volume = volume

    # What the stream asks of it

    def sound(self, options: Options, latency_usec: int) -> None:
        """Connect to the server within these limits."""
        before = (self._options.device, self._options.allows_monitor, self._latency_usec)
        self._options, self._latency_usec = options, latency_usec
        if before != (options.device, options.allows_monitor, latency_usec):
            self.silence()  # it must be another stream at the server
        self._client.join(self)

    def silence(self) -> None:
        """Disconnect: run on the clock, and drop the playback that the server has queued."""
        self.detach()
        self._client.leave(self)

    def end(self) -> None:
        """Stop controlling the stream. The core then ends it at the server."""
        self._forget()
        self._client.leave(self)

    @property
    def is_connected(self) -> bool:
        """Whether it is heard, or records from a source that was admitted."""
        if self._direction is Direction.CAPTURE and not self._is_admitted:
            return False
        return self.audio_is_ready

    @property
    def why_silent(self) -> str | None:
        """Why it is not at the server although it may sound, in words; None: it is, or will be."""
        return None if self.is_connected else self._client.why_silent(self)

    # What the guest's client asks of it

    @property
    def direction(self) -> Direction:
        return self._direction

    def tell_limit(self, text: str) -> None:
        self._audit.tell(EventKind.LIMIT_HIT, text, Priority.WARNING)

    def attach(self, client: AudioClient) -> None:
        device, self._next_device = self._next_device, None
        self._core.attach_audio(
            client,
            stream_config(
                self._client.guest,
                self._parameters,
                self._options.device or device,
                playback=self._direction is Direction.PLAYBACK,
                is_pinned=self._options.device is not None,
                latency_usec=self._latency_usec,
                volume=self.volume.wanted_volume,
                muted=self.volume.wanted_mute,
            ),
        )

    def detach(self) -> None:
        self._core.detach_audio()
        self._forget()

    def poll(self) -> None:
        """Something happened in the engine: the stream is ready, or was moved."""
        index = self._core.audio_index
        if index is None:
            return
        if self._stream is None:
            self._stream = self._client.mixer.follow(self._direction, index, self._on_mixer_state)
            self.volume.attach(self._stream)
            self.on_connected()
        if self._direction is Direction.CAPTURE and self._source != self._core.source:
            self._source = self._core.source
            self._is_admitted = False
            self._stream.poll()
        if self.device is None:
            self._admit_microphone()

    @property
    def audio_error(self) -> str | None:
        return self._core.audio_error

    @property
    def audio_is_ready(self) -> bool:
        return self._core.audio_index is not None

    def _forget(self) -> None:
        if self._stream is not None:
            self._stream.end()
        self._stream = self._source = self.device = None
        self._is_admitted = False
        self.volume.detach()

    # What the mixer tells

    def _on_mixer_state(self, state: MixerState) -> None:
        self.volume.update(state)
        self.device = state.device
        if self._direction is Direction.CAPTURE and state.device is not None:
            self._check_source(state.device)

    def _admit_microphone(self) -> None:
        """Until the mixer has told of the source."""
        if self._is_admitted or self._source is None:
            return
        index, name = self._source
        if self._options.device in {None, name}:
            self._note(self._core.admit_microphone(index, name), name)

    def _check_source(self, source: AudioDevice) -> None:
        why_not = why_refused(source, self._options)
        if why_not is not None:
            was_admitted = self._is_admitted and self._source == (source.index, source.name)
            self._is_admitted = False
            self._audit_source(source.name, why_not)
            if was_admitted:  # the server describes it otherwise now
                self.silence()
                self._reconnect(source)
            return
        # If the core records another source by now, poll() will notice.
        admission = self._core.admit_source(source.index, source.name)
        self._note(admission, source.name)
        if admission is Admission.MIXED:
            self._reconnect(source)

    def _note(self, admission: Admission, source: str) -> None:
        if admission is Admission.ADMITTED:
            self._is_admitted = True
            self._audit_source(source, None)
            self.on_connected()

    def _reconnect(self, source: AudioDevice) -> None:
        """Make a new stream, on the source that this one is on now.

        It asks for the source only if that is not the default: a stream that asks for one may not
        be moved when a person chooses another default. WirePlumber 0.5 leaves it where it is.

        If the server moves each new one too, this is done once in RECONNECT_SECONDS at most."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._reconnected_at + RECONNECT_SECONDS and self._stream is not None:
            loop.call_later(RECONNECT_SECONDS, self._stream.poll)
            return
        self._reconnected_at = loop.time()
        self.silence()
        self._next_device = None if source.is_default else source.name
        self._client.join(self)

    def _audit_source(self, source: str, why_not: str | None) -> None:
        if self._audited == (source, why_not):
            return
        self._audited = (source, why_not)
        if why_not is None:
            kind, priority = EventKind.SOURCE_ADMITTED, Priority.NOTICE
            text = f"records {source}"
        else:
            kind, priority = EventKind.SOURCE_REFUSED, Priority.WARNING
            text = f"gets silence: {source} {why_not}"
        self._audit.tell(kind, text, priority, XENSND_SOURCE=source)
