"""The guest's own PulseAudio, or PipeWire through its PulseAudio interface: a sink and a source
named after the project, made of modules that the server already has.

What applications play goes into a null sink, whose monitor the agent records. What the agent
captures it plays into a second null sink, whose monitor, remapped, is the guest's microphone.
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

# Where each direction meets the server: what the agent records, and what it plays into.
PIPE_DEVICE = {Direction.PLAYBACK: f"{SINK}.monitor", Direction.CAPTURE: CAPTURE_SINK}


# pulsectl's PulseDisconnected is none of its PulseErrors.
_TROUBLE = (pulsectl.PulseError, pulsectl.PulseDisconnected)


def _null_sink(name: str, description: str, rate_hz: int, options: str = "") -> tuple[str, str]:
    return (
        "module-null-sink",
        f"sink_name={name} rate={rate_hz} channels=2 {options} "
        f"sink_properties=\"device.description='{description}'\"",
    )


class Desktop:
    """`with Desktop(server, rate) as desktop:` has loaded the modules, and unloads them after.

    `changed` is set when an application may have begun or ended to play or record, `lost` when
    the server has gone.
    """

    def __init__(self, server: str | None, rate_hz: int) -> None:
        self._server = server
        self._rate_hz = rate_hz
        self._pulse: Any = pulsectl.Pulse("xensnd-guest", server=server, connect=False)
        self._modules: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._events: Any = pulsectl.Pulse("xensnd-guest events", server=server, connect=False)
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()

    def __enter__(self) -> Self:
        try:
            with self._reporting():
                self._pulse.connect()
                self._events.connect()
                self._unload_leftovers()
                self._load_modules()
                self._pulse.sink_default_set(SINK)
                self._pulse.source_default_set(SOURCE)
                self._events.event_mask_set("sink_input", "source_output")
                self._events.event_callback_set(lambda _event: self._wake(self.changed))
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
        for module in reversed(self._modules):
            with contextlib.suppress(*_TROUBLE):
                self._pulse.module_unload(module)
        self._disconnect()

    def _disconnect(self) -> None:
        for connection in (self._events, self._pulse):
            with contextlib.suppress(*_TROUBLE):
                connection.close()

    def is_wanted(self, direction: Direction) -> bool:
        """Whether some application plays into our sink, or records our source."""
        with self._reporting():
            if direction is Direction.PLAYBACK:
                index = self._index(self._pulse.sink_list(), SINK)
                return any(
                    each.sink == index and not each.corked for each in self._pulse.sink_input_list()
                )
            index = self._index(self._pulse.source_list(), SOURCE)
            return any(
                each.source == index and not each.corked
                for each in self._pulse.source_output_list()
            )

    def _load_modules(self) -> None:
        # `norewinds`: an idle null sink renders two seconds ahead, and a stream would start late.
        for name, arguments in (
            _null_sink(SINK, "Xen", self._rate_hz, "norewinds=1"),
            _null_sink(CAPTURE_SINK, "Xen capture", self._rate_hz, "norewinds=1"),
            (
                "module-remap-source",
                f"source_name={SOURCE} master={CAPTURE_SINK}.monitor "
                "source_properties=\"device.description='Xen microphone'\"",
            ),
        ):
            self._modules.append(self._pulse.module_load(name, arguments))

    def _unload_leftovers(self) -> None:
        """Of an agent that was killed."""
        names = {f"sink_name={SINK}", f"sink_name={CAPTURE_SINK}", f"source_name={SOURCE}"}
        for module in reversed(self._pulse.module_list()):
            if names & set((module.argument or "").split()):
                self._pulse.module_unload(module.index)

    @staticmethod
    def _index(devices: list[Any], name: str) -> int | None:
        return next((device.index for device in devices if device.name == name), None)

    def _listen(self) -> None:
        with contextlib.suppress(*_TROUBLE):
            self._events.event_listen()
            return  # told to stop
        self._wake(self.lost)
        self._wake(self.changed)

    def _wake(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            raise AudioUnavailable(
                f"audio server {self._server or 'of this session'}: {error or 'not there'}"
            ) from None
