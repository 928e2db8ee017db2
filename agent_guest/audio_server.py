"""The guest's own PulseAudio, or PipeWire through its PulseAudio interface: a sink and a source
named after the project, made of modules that the server already has.

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

from xensnd.errors import AudioUnavailable
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-guest")

SINK = "xensnd"
CAPTURE_SINK = "xensnd_capture"
SOURCE = "xensnd_microphone"

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


class AudioServer:
    """`with AudioServer(address, rate) as server:` has our devices loaded; at the end of the block
    they are unloaded."""

    def __init__(self, address: str | None, rate_hz: int) -> None:
        self._address = address
        self._modules = _modules(rate_hz)
        self._loaded: dict[str, int] = {}  # device -> the module's index
        self._own_streams: dict[str, frozenset[int]] = {}  # facility -> the agent's
        self._pulse: Any = pulsectl.Pulse("xensnd-guest", server=address, connect=False)
        self._events: Any = pulsectl.Pulse("xensnd-guest events", server=address, connect=False)
        self._loop = asyncio.get_running_loop()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self.changed = asyncio.Event()
        """Set when an application may have begun or ended to play or to record."""
        self.device_lost = asyncio.Event()
        """Set when a module was unloaded, perhaps one of ours: call restore_devices()."""
        self.lost = asyncio.Event()
        """Set when the server has gone."""

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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        """Return whether some application plays into our sink, or records from our source."""
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

    # Our devices

    def restore_devices(self) -> None:
        """Loads those again that somebody has unloaded. AudioUnavailable: it cannot be done."""
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
