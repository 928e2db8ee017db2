"""The guest's own PulseAudio, or PipeWire through its PulseAudio interface: the sink and the source
are made of modules that the server already has.

Applications play into a null sink, whose monitor the agent records. The agent plays what it
captures into a second null sink, whose monitor, remapped, is the guest's microphone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import pulsectl

from agent_guest.devices import SINK, SOURCE, SPEC, GuestDevices
from agent_guest.pcm import Pcm
from xensnd.core import AudioClient, AudioStreamConfig, ClientState, Engine
from xensnd.errors import AudioUnavailable
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-guest")

CAPTURE_SINK = "xensnd_capture"

CONNECT_SECONDS = 2.0

APPLICATION_ID = "xensnd.guest"  # of the agent's own streams

# The device at which the agent records (playback) or plays (capture).
AGENT_DEVICE = {Direction.PLAYBACK: f"{SINK}.monitor", Direction.CAPTURE: CAPTURE_SINK}


# pulsectl's PulseDisconnected is not derived from PulseError.
_PULSE_ERRORS = (pulsectl.PulseError, pulsectl.PulseDisconnected)


def _null_sink(name: str, description: str, rate_hz: int) -> tuple[str, str]:
    # `norewinds`: an idle null sink renders two seconds ahead, and a stream would start late.
    return (
        "module-null-sink",
        f"sink_name={name} rate={rate_hz} channels=2 norewinds=1 "
        f"sink_properties=\"device.description='{description}'\"",
    )


def _modules(rate_hz: int) -> dict[str, tuple[str, str]]:
    """Each device of ours, with the module that makes it and its arguments, in loading order."""
    return {
        SINK: _null_sink(SINK, "Xen", rate_hz),
        CAPTURE_SINK: _null_sink(CAPTURE_SINK, "Xen capture", rate_hz),
        SOURCE: (
            "module-remap-source",
            f"source_name={SOURCE} master={CAPTURE_SINK}.monitor "
            "source_properties=\"device.description='Xen microphone'\"",
        ),
    }


class PulseDevices(GuestDevices):
    def __init__(self, address: str | None, engine: Engine, latency_usec: int) -> None:
        """`address`: as in PULSE_SERVER. `latency_usec`: how much sound the server may hold
        back."""
        super().__init__()
        self._address = address
        self._engine = engine
        self._latency_usec = latency_usec
        self._latency_frames = latency_usec * SPEC.rate_hz // 1_000_000
        self._client: AudioClient | None = None
        self._modules = _modules(SPEC.rate_hz)
        self._loaded: dict[str, int] = {}  # device -> the module's index
        self._own_streams: dict[str, frozenset[int]] = {}  # facility -> the agent's
        self._pulse: Any = pulsectl.Pulse("xensnd-guest", server=address, connect=False)
        self._events: Any = pulsectl.Pulse("xensnd-guest events", server=address, connect=False)
        self._loop = asyncio.get_running_loop()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        try:
            with self._reporting():
                self._pulse.connect()
                self._events.connect()
                self._unload_leftovers()
                self._load_missing()
                self._events.event_mask_set("sink_input", "source_output", "module")
                self._events.event_callback_set(self._on_event)
        except BaseException:
            self._disconnect()
            raise
        self._listener.start()
        self._client = AudioClient(
            self._engine,
            self._address,
            {"application.name": "xensnd", "application.id": APPLICATION_ID},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._events.event_listen_stop()
        self._listener.join(timeout=1)
        for index in reversed(self._loaded.values()):
            with contextlib.suppress(*_PULSE_ERRORS):
                self._pulse.module_unload(index)
        self._disconnect()

    def _disconnect(self) -> None:
        for connection in (self._events, self._pulse):
            with contextlib.suppress(*_PULSE_ERRORS):
                connection.close()

    def is_wanted(self, direction: Direction) -> bool:
        with self._reporting():
            if direction is Direction.PLAYBACK:
                index = self._index(self._pulse.sink_list(), SINK)
                inputs = self._pulse.sink_input_list()
                self._note_own("sink_input", inputs)
                return any(each.sink == index and not each.corked for each in inputs)
            index = self._index(self._pulse.source_list(), SOURCE)
            outputs = self._pulse.source_output_list()
            self._note_own("source_output", outputs)
            return any(each.source == index and not each.corked for each in outputs)

    def _note_own(self, facility: str, streams: list[Any]) -> None:
        """Notes which of the streams are the agent's: see _on_event()."""
        ours = {s.index for s in streams if s.proplist.get("application.id") == APPLICATION_ID}
        self._own_streams[facility] = frozenset(ours)

    def poll(self) -> None:
        if self._client is not None and self._client.state is ClientState.FAILED:
            self.lost.set()

    # The agent's streams

    def target_frames(self, direction: Direction, least_frames: int) -> int:
        if direction is Direction.PLAYBACK:
            # dom0 wants half of its least buffer queued at its audio server. A slow server here
            # writes in large pieces, between which that queue must last.
            return max(least_frames // 2, least_frames // 4 + self._latency_frames)
        # dom0's pieces are a quarter of its least buffer; one and a half of them allow for
        # jitter. The audio server reads pieces of half its latency; half of one is for them.
        return least_frames * 3 // 8 + self._latency_frames // 4

    def attach(self, pcm: Pcm, target_fill_octets: int) -> None:
        assert self._client is not None  # noqa: S101
        direction = pcm.config.direction
        config = AudioStreamConfig(
            # The mirror image of dom0: what the guest plays is recorded here.
            playback=direction is Direction.CAPTURE,
            name=f"Xen {direction}",
            pulse_format=SPEC.sample_format.pulse_name or "",
            rate_hz=SPEC.rate_hz,
            channels=SPEC.channels,
            latency_usec=self._latency_usec,
            device=AGENT_DEVICE[direction],
            # Moved, it could play the microphone, or record what it plays itself.
            is_pinned=True,
            variable_rate=True,
            any_source=True,  # our own sink's monitor
            properties={"module-stream-restore.id": f"xensnd-{direction}"},
        )
        pcm.attach_audio(self._client, config, target_fill_octets)

    def detach(self, pcm: Pcm) -> None:
        pcm.detach_audio()

    # Our devices

    def restore_devices(self) -> None:
        self.device_lost.clear()
        with self._reporting():
            present = {module.index for module in self._pulse.module_list()}
            missing = [device for device, index in self._loaded.items() if index not in present]
            for device in missing:
                del self._loaded[device]
            if missing:
                log.warning("somebody unloaded %s; loading it again", " and ".join(missing))
            self._load_missing()

    def _load_missing(self) -> None:
        for device, (module, arguments) in self._modules.items():
            if device in self._loaded:
                continue
            self._loaded[device] = self._pulse.module_load(module, arguments)
            if device == SINK:
                self._pulse.sink_default_set(SINK)
            elif device == SOURCE:
                self._pulse.source_default_set(SOURCE)

    def _unload_leftovers(self) -> None:
        """Unloads what an agent that was killed has left."""
        names = {f"sink_name={SINK}", f"sink_name={CAPTURE_SINK}", f"source_name={SOURCE}"}
        for module in reversed(self._pulse.module_list()):
            if names & set((module.argument or "").split()):
                self._pulse.module_unload(module.index)

    @staticmethod
    def _index(devices: list[Any], name: str) -> int | None:
        return next((device.index for device in devices if device.name == name), None)

    # Events, in a thread of their own

    def _listen(self) -> None:
        with contextlib.suppress(*_PULSE_ERRORS):
            self._events.event_listen()
            return  # told to stop
        self._set(self.lost)
        self._set(self.changed)

    def _on_event(self, event: Any) -> None:
        if event.facility == "module":
            if event.t == "remove":  # which one, restore_devices() finds out
                self._set(self.device_lost)
            return
        # The rate of our own streams is adjusted all the time.
        ours = self._own_streams.get(event.facility, frozenset())
        if event.t != "change" or event.index not in ours:
            self._set(self.changed)

    def _set(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except _PULSE_ERRORS as error:
            raise AudioUnavailable(
                f"audio server {self._address or 'of this session'}: {error or 'not there'}"
            ) from None


def server_name() -> str | None:
    """How the session's server names itself: PipeWire's says that it is PipeWire. None: no server
    answers."""
    pulse: Any = pulsectl.Pulse("xensnd-guest", connect=False)
    try:
        pulse.connect(timeout=CONNECT_SECONDS)
        return str(pulse.server_info().server_name)
    except _PULSE_ERRORS:
        return None
    finally:
        pulse.close()
