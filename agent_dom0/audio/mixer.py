"""dom0's mixer: the volume and mute of each guest's stream at the audio server, its source, and the
sinks that have too many streams.

pulsectl's calls wait for the server, so one thread owns the connection and makes them. The event
loop of the agent queues orders and gets the server's state in callbacks. It never waits. Of several
orders for one stream the last one counts, and GET_VOLUME is answered from the last known state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent_dom0 import descriptors
from agent_dom0.audio.address import mixer_address
from agent_dom0.audio.crowded_sinks import CrowdedSink, find_crowded_sinks
from agent_dom0.audio.load_pulsectl import pulsectl
from xensnd.backoff import BackOff
from xensnd.errors import LimitReached
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# The connection is kept for this long after the last stream. Then it is closed, because an audio
# server without clients may exit.
LINGER_SECONDS = 2.0
# Streams are counted when any of the server's has changed, and not more often than this.
COUNT_SECONDS = 1.0
# How long close() waits for the thread; a server that hangs may block it.
JOIN_SECONDS = 0.5

# What a connection takes: a socket, two pipes of libpulse's mainloop, shared memory. Without them
# libpulse would end the process.
_DESCRIPTORS = 8

_NO_INDEX = 0xFFFFFFFF
_DIRECTIONS = {"sink_input": Direction.PLAYBACK, "source_output": Direction.CAPTURE}
# The server rounds volumes; a difference this small is not above the cap.
_ROUNDING = 1e-4

_Key = tuple[Direction, int]


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """A sink or a source of the audio server."""

    index: int
    name: str
    description: str
    is_monitor: bool  # a source that records what others play into a sink
    is_default: bool = False  # the source that streams record which ask for none


@dataclass(frozen=True, slots=True)
class MixerState:
    """The state of a stream at the server."""

    volume: tuple[float, ...]  # of each channel, 1 for 100 %; empty: the stream has no volume
    is_muted: bool
    device: AudioDevice | None = None  # that it plays into or records; None while it is moved


class MixerStream:
    """One sink input or source output. `on_state` is called in the agent's event loop with each new
    state."""

    def __init__(
        self, mixer: Mixer, direction: Direction, index: int, on_state: Callable[[MixerState], None]
    ) -> None:
        self.direction = direction
        self.index = index
        self._mixer = mixer
        self._on_state = on_state
        self._is_over = False
        self._serial = 0  # of the last order
        # Shared with the thread, under the mixer's lock.
        self.volume_order: tuple[float, ...] | None = None
        self.mute_order: bool | None = None
        self.cap: float | None = None
        self.orders = 0

    def set_volume(self, volume: Sequence[float]) -> None:
        """A value for each channel, 1 for 100 %."""
        with self._order():
            self.volume_order = tuple(volume)

    def set_mute(self, muted: bool) -> None:
        with self._order():
            self.mute_order = muted

    def set_cap(self, cap: float | None) -> None:
        """Limit every channel from now on, whoever sets the volume."""
        with self._order():
            self.cap = cap

    def poll(self) -> None:
        """Ask the server for the state; `on_state` gets it."""
        with self._order():
            pass

    def end(self) -> None:
        """Stop following the stream, which has gone or is about to go."""
        self._is_over = True
        self._mixer.forget(self)

    def report(self, state: MixerState, serial: int) -> None:
        """Pass the state on, unless it is older than the last order."""
        if not self._is_over and serial == self._serial:
            self._on_state(state)

    @contextlib.contextmanager
    def _order(self) -> Any:
        with self._mixer.lock:
            yield
            self.orders += 1
            self._serial = self.orders
        self._mixer.refresh_later(self)


class Mixer:
    """Connects while it follows a stream, and again after the server was lost.

    `changed` is called in the agent's event loop after new states were reported.
    """

    def __init__(self, server: str | None, changed: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.server = server
        self._changed = changed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_closing = False
        self._is_listening = False
        # Under the lock: the streams, those whose state is to be read (in order), and the states
        # that were read and not reported yet.
        self._streams: dict[_Key, MixerStream] = {}
        self._to_refresh: dict[_Key, None] = {}
        self._to_report: dict[MixerStream, tuple[MixerState, int]] = {}
        self._asks_default: list[Callable[[str | None], None]] = []
        # Of the thread: whether a stream has come, gone or changed, and when they may be counted.
        self._must_count = False
        self._counts_at = 0.0
        self.crowded_sinks: tuple[CrowdedSink, ...] = ()

    # In the agent's loop

    def follow(
        self, direction: Direction, index: int, on_state: Callable[[MixerState], None]
    ) -> MixerStream:
        stream = MixerStream(self, direction, index, on_state)
        with self.lock:
            self._streams[direction, index] = stream
        self._start()
        self.refresh_later(stream)
        return stream

    def find_default_source(self, told: Callable[[str | None], None]) -> None:
        """Call `told` with the name of the default source; None: the server has none or cannot be
        asked. It is not called while the server hangs."""
        with self.lock:
            self._asks_default.append(told)
        self._start()
        self._wake()

    def _start(self) -> None:
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, name="mixer", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no memory for its stack, or TasksMax= of the unit
            log.warning("mixer: %s; it tries again", error)
            self._loop.call_later(RETRY_LAST_SECONDS, self._start)
        else:
            self._thread = thread

    def refresh_later(self, stream: MixerStream) -> None:
        with self.lock:
            key = (stream.direction, stream.index)
            if self._streams.get(key) is stream:
                self._to_refresh[key] = None
        self._wake()

    def forget(self, stream: MixerStream) -> None:
        with self.lock:
            key = (stream.direction, stream.index)
            if self._streams.get(key) is stream:
                del self._streams[key]
                self._to_refresh.pop(key, None)
        self._wake()

    def close(self) -> None:
        self._is_closing = True
        self._wake()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
            if self._thread.is_alive():
                return  # it keeps the descriptor
        os.close(self._wake_fd)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # In the thread

    def _run(self) -> None:
        back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        while not self._is_closing:
            if not self._streams and not self._asks_default:
                self._wait(math.inf)
                continue
            try:
                self._serve()
                back_off.reset()
            except pulsectl.PulseDisconnected:
                # Without streams there is no rest: a question left open would be asked in a loop.
                self._report_default(None)
                back_off.reset()
                self._rest(RETRY_FIRST_SECONDS)
            except (pulsectl.PulseError, LimitReached, OSError, MemoryError) as error:
                self._report_default(None)
                if not back_off.has_failed:
                    where = self.server or "of this session"
                    log.warning("mixer of audio server %s: %s; it tries again", where, error)
                self._rest(back_off.next_seconds())
            except Exception:
                log.exception("mixer")
                self._rest(RETRY_LAST_SECONDS)

    def _rest(self, seconds: float) -> None:
        """Wait before the next connection, even if orders come."""
        until = time.monotonic() + seconds
        while self._streams and not self._is_closing and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Wait for an order while there is no connection."""
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        poll.poll(None if math.isinf(seconds) else seconds * 1000)
        self._clear_wake()

    def _clear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _serve(self) -> None:
        """Connect, and follow the streams until there has been none for LINGER_SECONDS."""
        descriptors.require_free(_DESCRIPTORS)
        pulse = pulsectl.Pulse("xensnd", server=mixer_address(self.server), connect=False)
        try:
            pulse.set_poll_func(lambda fds, seconds: self._poll(pulse, fds, seconds), _log_error)
            pulse.event_callback_set(self._on_event)
            pulse.connect()
            pulse.event_mask_set("sink_input", "source_output")
            with self.lock:
                self._to_refresh = dict.fromkeys(self._streams)
            self._must_count = True
            while not self._is_closing:
                self._refresh_all(pulse)
                self._count_streams(pulse)
                lingers = not self._streams
                self._is_listening = True
                pulse.event_listen(LINGER_SECONDS if lingers else self._until_count())
                self._is_listening = False
                if lingers and not self._streams:
                    return
        except Exception:
            if not self._is_closing:  # then _poll() ends whatever libpulse does
                raise
        finally:
            self._is_listening = False
            self._note_crowded(())
            pulse.close()

    def _poll(self, pulse: Any, fds: list[Any], seconds: float) -> int:
        """Poll libpulse's descriptors, and the one that an order wakes."""
        poll = select.poll()
        for each in fds:
            poll.register(each.fd, each.events)
        poll.register(self._wake_fd, select.POLLIN)
        ready = dict(poll.poll(None if seconds < 0 else seconds * 1000))
        if ready.pop(self._wake_fd, 0):
            self._clear_wake()
            if self._is_closing and not self._is_listening:
                return -1  # do not wait for an answer any more
            pulse.event_listen_stop()
        for each in fds:
            each.revents = ready.get(each.fd, 0)
        return len(ready)

    def _on_event(self, event: Any) -> None:
        direction = _DIRECTIONS.get(event.facility)
        if direction is None:
            return
        must_count = direction is Direction.PLAYBACK and not self._must_count
        self._must_count |= must_count
        with self.lock:
            is_ours = event.t != "remove" and (direction, event.index) in self._streams
            if is_ours:
                self._to_refresh[direction, event.index] = None
        if is_ours or must_count:
            raise pulsectl.PulseLoopStop

    def _until_count(self) -> float | None:
        """Return the seconds until streams are counted, as pulsectl takes them: not 0. None: none
        has changed."""
        return max(self._counts_at - time.monotonic(), 0.001) if self._must_count else None

    def _count_streams(self, pulse: Any) -> None:
        if not self._must_count or time.monotonic() < self._counts_at:
            return
        self._must_count = False
        self._counts_at = time.monotonic() + COUNT_SECONDS
        self._note_crowded(find_crowded_sinks(pulse))

    def _note_crowded(self, sinks: tuple[CrowdedSink, ...]) -> None:
        if sinks != self.crowded_sinks:
            self.crowded_sinks = sinks
            self._call(self._changed)

    def _refresh_all(self, pulse: Any) -> None:
        """Carry out all orders, and report the states after that."""
        if self._asks_default:
            self._report_default(pulse.server_info().default_source_name)
        while not self._is_closing:
            with self.lock:
                if not self._to_refresh:
                    return
                key = next(iter(self._to_refresh))
                del self._to_refresh[key]
                stream = self._streams.get(key)
            if stream is None:
                continue
            try:
                self._refresh(pulse, stream)
            except pulsectl.PulseError as error:
                if not pulse.connected:
                    raise pulsectl.PulseDisconnected from None
                # The stream has ended meanwhile, or the server refuses: there is nothing to report.
                log.debug("mixer: %s %d: %s", stream.direction, stream.index, error)

    def _refresh(self, pulse: Any, stream: MixerStream) -> None:
        with self.lock:
            serial, cap = stream.orders, stream.cap
            volume, muted = stream.volume_order, stream.mute_order
        server = _Access(pulse, stream.direction, stream.index)
        if volume is not None:
            server.set_volume(_capped(volume, cap))
        if muted is not None:
            server.set_mute(muted)
        with self.lock:
            if stream.orders == serial:  # otherwise the next call does all of it again
                stream.volume_order = stream.mute_order = None
        info = server.info()
        now = tuple(info.volume.values) if info.volume is not None else ()
        if now != (allowed := _capped(now, cap)):
            server.set_volume(allowed)
            now = allowed
        self._report(stream, MixerState(now, bool(info.mute), server.device(info)), serial)

    def _report(self, stream: MixerStream, state: MixerState, serial: int) -> None:
        with self.lock:
            is_under_way = bool(self._to_report)
            self._to_report[stream] = (state, serial)
        if not is_under_way:
            self._call(self._report_all)

    def _report_default(self, name: str | None) -> None:
        with self.lock:
            asks, self._asks_default = self._asks_default, []
        for told in asks:
            self._call(partial(told, name))

    def _call(self, work: Callable[[], None]) -> None:
        """Do the work in the agent's event loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(work)

    def _report_all(self) -> None:
        """Report the states to the streams. Runs in the agent's event loop."""
        with self.lock:
            to_report, self._to_report = self._to_report, {}
        for stream, (state, serial) in to_report.items():
            stream.report(state, serial)
        self._changed()


class _Access:
    """Calls pulsectl's functions for a sink input or a source output."""

    def __init__(self, pulse: Any, direction: Direction, index: int) -> None:
        kind = "sink_input" if direction is Direction.PLAYBACK else "source_output"
        self._pulse = pulse
        self._kind = kind
        self._index = index

    def info(self) -> Any:
        return getattr(self._pulse, f"{self._kind}_info")(self._index)

    def device(self, info: Any) -> AudioDevice | None:
        if self._kind == "sink_input":
            return _sink(self._pulse, info.sink)
        return _source(self._pulse, info.source)

    def set_volume(self, volume: tuple[float, ...]) -> None:
        info = pulsectl.PulseVolumeInfo(list(volume))
        getattr(self._pulse, f"{self._kind}_volume_set")(self._index, info)

    def set_mute(self, muted: bool) -> None:
        getattr(self._pulse, f"{self._kind}_mute")(self._index, muted)


def _capped(volume: tuple[float, ...], cap: float | None) -> tuple[float, ...]:
    if cap is None:
        return volume
    return tuple(cap if each > cap + _ROUNDING else each for each in volume)


def _sink(pulse: Any, index: int) -> AudioDevice | None:
    if index == _NO_INDEX:
        return None
    info = pulse.sink_info(index)
    return AudioDevice(index, info.name, info.description or info.name, is_monitor=False)


def _source(pulse: Any, index: int) -> AudioDevice | None:
    if index == _NO_INDEX:
        return None
    info = pulse.source_info(index)
    return AudioDevice(
        index,
        info.name,
        info.description or info.name,
        _is_monitor(info),
        is_default=info.name == pulse.server_info().default_source_name,
    )


def _is_monitor(info: Any) -> bool:
    """Return whether one of three marks says so."""
    return bool(
        info.monitor_of_sink != _NO_INDEX
        or info.name.endswith(".monitor")
        or info.proplist.get("device.class") == "monitor"
    )


def _log_error(*error: Any) -> None:
    log.error("mixer: %s", error[1])
