"""A guest's open stream at the audio server: its connection and its volume."""

from __future__ import annotations

from agent_dom0.audio.guest_client import GuestClient, stream_config
from agent_dom0.audio.stream_volume import Loudness
from policy.model import NO_OPTIONS, Options
from xensnd.core import AudioClient, BackendStream
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import Direction


class ServerStream:
    """Of one open PCM. It is connected while it may sound: see sound() and silence()."""

    def __init__(
        self, core: BackendStream, client: GuestClient, direction: Direction, request: Open
    ) -> None:
        self.loudness = Loudness(core, request.channels, client.knobs[direction])
        self._core = core
        self._client = client
        self._direction = direction
        self._request = request
        self._options = NO_OPTIONS
        self._latency_usec = 0

    # What the stream asks of it

    def sound(self, options: Options, latency_usec: int) -> None:
        """Within these limits, from now on."""
        before = (self._options.device, self._latency_usec)
        self._options, self._latency_usec = options, latency_usec
        if before != (options.device, latency_usec):
            self.silence()  # it must be another stream at the server
        self._client.join(self)

    def silence(self) -> None:
        """On its clock from now on. What the server has of a playback is not heard."""
        self.detach()
        self._client.leave(self)

    def leave(self) -> None:
        """The core ends the stream itself, in the way it wants."""
        self._client.leave(self)

    @property
    def is_connected(self) -> bool:
        return self.audio_is_ready

    # What the guest's client asks of it

    def attach(self, client: AudioClient) -> None:
        self._core.attach_audio(
            client,
            stream_config(
                self._client.guest,
                playback=self._direction is Direction.PLAYBACK,
                pulse_format=self._request.sample_format.pulse_name or "",
                rate_hz=self._request.rate_hz,
                channels=self._request.channels,
                latency_usec=self._latency_usec,
                device=self._options.device,
            ),
        )
        self.loudness.apply_again()

    def detach(self) -> None:
        self._core.detach_audio()

    @property
    def audio_error(self) -> str | None:
        return self._core.audio_error

    @property
    def audio_is_ready(self) -> bool:
        return self._core.audio_index is not None
