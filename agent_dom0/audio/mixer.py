"""dom0's mixer: the volume and mute of each guest's stream at the audio server, and its source.

pulsectl's calls wait for the server, so one thread owns the connection and makes them. The
agent's loop leaves orders and is told what the server has. It never waits: of several orders for
one stream the last one holds, and what was seen last answers questions.
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

from agent_dom0.audio.load_pulsectl import pulsectl
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
# Connected for so long after the last stream: an audio server without clients may end.
LINGER_SECONDS = 2.0
# The thread is waited for so long at the end; a server that hangs may hold it.
JOIN_SECONDS = 0.5

_NO_INDEX = 0xFFFFFFFF
_DIRECTIONS = {"sink_input": Direction.PLAYBACK, "source_output": Direction.CAPTURE}
# A volume that the server has rounded is not above the cap.
_ROUNDING = 1e-4

_Key = tuple[Direction, int]


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """A sink or a source of the audio server."""

    index: int
    name: str
    description: str
    is_monitor: bool  # a source that gives what others play into a sink


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream as the server has it."""

    volume: tuple[float, ...]  # each channel's, 1 for 100 %; empty: it has none
    is_muted: bool
    device: AudioDevice | None = None  # which it plays into, or records; None while it is moved


class MixerStream:
    """One sink input or source output. `told` is called in the agent's loop with what is new."""

    def __init__(
        self, mixer: Mixer, direction: Direction, index: int, told: Callable[[Seen], None]
    ) -> None:
        self.direction = direction
        self.index = index
        self._mixer = mixer
        self._told = told
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
        """No channel is louder from now on, whoever turns it up."""
        with self._order():
            self.cap = cap

    def poll(self) -> None:
        """Asks the server for what it has; `told` hears of it."""
        with self._order():
            pass

    def end(self) -> None:
        """The stream has gone, or goes now."""
        self._is_over = True
        self._mixer.forget(self)

    def tell(self, seen: Seen, serial: int) -> None:
        """What was seen before the last order says nothing of what will be."""
        if not self._is_over and serial == self._serial:
            self._told(seen)

    @contextlib.contextmanager
    def _order(self) -> Any:
        with self._mixer.lock:
            yield
            self.orders += 1
            self._serial = self.orders
        self._mixer.look_at(self)


class Mixer:
    """Connected while it follows a stream, and made again when the server was lost.

    `changed` is called in the agent's loop after something new was told.
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
        # Under the lock: what is followed, what of it is to be looked at, in turn, and what was
        # seen and not told yet.
        self._streams: dict[_Key, MixerStream] = {}
        self._to_look_at: dict[_Key, None] = {}
        self._to_tell: dict[MixerStream, tuple[Seen, int]] = {}
        self._asks_default: list[Callable[[str | None], None]] = []

    # In the agent's loop

    def follow(self, direction: Direction, index: int, told: Callable[[Seen], None]) -> MixerStream:
        stream = MixerStream(self, direction, index, told)
        with self.lock:
            self._streams[direction, index] = stream
        self._start()
        self.look_at(stream)
        return stream

    def find_default_source(self, told: Callable[[str | None], None]) -> None:
        """`told` is called with the name of what is recorded if nobody says what else; None: the
        server does not say. While the server hangs it is not called."""
        with self.lock:
            self._asks_default.append(told)
        self._start()
        self._wake()

    def _start(self) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="mixer", daemon=True)
            self._thread.start()

    def look_at(self, stream: MixerStream) -> None:
        with self.lock:
            key = (stream.direction, stream.index)
            if self._streams.get(key) is stream:
                self._to_look_at[key] = None
        self._wake()

    def forget(self, stream: MixerStream) -> None:
        with self.lock:
            key = (stream.direction, stream.index)
            if self._streams.get(key) is stream:
                del self._streams[key]
                self._to_look_at.pop(key, None)
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
        retry_seconds = RETRY_FIRST_SECONDS
        while not self._is_closing:
            if not self._streams and not self._asks_default:
                self._wait(math.inf)
                continue
            try:
                self._serve()
                retry_seconds = RETRY_FIRST_SECONDS
            except pulsectl.PulseDisconnected:
                retry_seconds = RETRY_FIRST_SECONDS
                self._rest(retry_seconds)
            except pulsectl.PulseError as error:
                self._tell_default(None)
                if retry_seconds == RETRY_FIRST_SECONDS:
                    where = self.server or "of this session"
                    log.warning("mixer of audio server %s: %s; tried again", where, error)
                self._rest(retry_seconds)
                retry_seconds = min(retry_seconds * 2, RETRY_LAST_SECONDS)
            except Exception:
                log.exception("mixer")
                self._rest(RETRY_LAST_SECONDS)

    def _rest(self, seconds: float) -> None:
        """Before the next connection, whatever is ordered meanwhile."""
        until = time.monotonic() + seconds
        while self._streams and not self._is_closing and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """For an order, without a connection."""
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        poll.poll(None if math.isinf(seconds) else seconds * 1000)
        self._clear_wake()

    def _clear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _serve(self) -> None:
        """Connects, and follows the streams until there has been none for a while."""
        pulse = pulsectl.Pulse("xensnd", server=self.server, connect=False)
        try:
            pulse.set_poll_func(lambda fds, seconds: self._poll(pulse, fds, seconds), _log_error)
            pulse.event_callback_set(self._on_event)
            pulse.connect()
            pulse.event_mask_set("sink_input", "source_output")
            with self.lock:
                self._to_look_at = dict.fromkeys(self._streams)
            while not self._is_closing:
                self._look(pulse)
                lingers = not self._streams
                self._is_listening = True
                pulse.event_listen(LINGER_SECONDS if lingers else None)
                self._is_listening = False
                if lingers and not self._streams:
                    return
        except Exception:
            if not self._is_closing:  # then _poll() ends whatever libpulse does
                raise
        finally:
            self._is_listening = False
            pulse.close()

    def _poll(self, pulse: Any, fds: list[Any], seconds: float) -> int:
        """libpulse's own poll, and our orders, which end it."""
        poll = select.poll()
        for each in fds:
            poll.register(each.fd, each.events)
        poll.register(self._wake_fd, select.POLLIN)
        ready = dict(poll.poll(None if seconds < 0 else seconds * 1000))
        if ready.pop(self._wake_fd, 0):
            self._clear_wake()
            if self._is_closing and not self._is_listening:
                return -1  # an answer is not waited for any more
            pulse.event_listen_stop()
        for each in fds:
            each.revents = ready.get(each.fd, 0)
        return len(ready)

    def _on_event(self, event: Any) -> None:
        direction = _DIRECTIONS.get(event.facility)
        if direction is None or event.t == "remove":
            return
        with self.lock:
            if (direction, event.index) not in self._streams:
                return
            self._to_look_at[direction, event.index] = None
        raise pulsectl.PulseLoopStop

    def _look(self, pulse: Any) -> None:
        """Does what was ordered, and reports what the server has then."""
        if self._asks_default:
            self._tell_default(pulse.server_info().default_source_name)
        while not self._is_closing:
            with self.lock:
                if not self._to_look_at:
                    return
                key = next(iter(self._to_look_at))
                del self._to_look_at[key]
                stream = self._streams.get(key)
            if stream is None:
                continue
            try:
                self._look_at_one(pulse, stream)
            except pulsectl.PulseError as error:
                if not pulse.connected:
                    raise pulsectl.PulseDisconnected from None
                # It has ended meanwhile, or the server refuses: what is not seen is not told.
                log.debug("mixer: %s %d: %s", stream.direction, stream.index, error)

    def _look_at_one(self, pulse: Any, stream: MixerStream) -> None:
        with self.lock:
            serial, cap = stream.orders, stream.cap
            volume, muted = stream.volume_order, stream.mute_order
        server = _Access(pulse, stream.direction, stream.index)
        if volume is not None:
            server.set_volume(_capped(volume, cap))
        if muted is not None:
            server.set_mute(muted)
        with self.lock:
            if stream.orders == serial:  # else the next look does all of it again
                stream.volume_order = stream.mute_order = None
        info = server.info()
        now = tuple(info.volume.values) if info.volume is not None else ()
        if now != (allowed := _capped(now, cap)):
            server.set_volume(allowed)
            now = allowed
        self._report(stream, Seen(now, bool(info.mute), server.device(info)), serial)

    def _report(self, stream: MixerStream, seen: Seen, serial: int) -> None:
        with self.lock:
            is_under_way = bool(self._to_tell)
            self._to_tell[stream] = (seen, serial)
        if not is_under_way:
            self._call(self._tell)

    def _tell_default(self, name: str | None) -> None:
        with self.lock:
            asks, self._asks_default = self._asks_default, []
        for told in asks:
            self._call(partial(told, name))

    def _call(self, work: Callable[[], None]) -> None:
        """In the agent's loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(work)

    def _tell(self) -> None:
        """In the agent's loop."""
        with self.lock:
            to_tell, self._to_tell = self._to_tell, {}
        for stream, (seen, serial) in to_tell.items():
            stream.tell(seen, serial)
        self._changed()


class _Access:
    """pulsectl has each call twice: for what plays and for what records."""

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
    return AudioDevice(index, info.name, info.description or info.name, _is_monitor(info))


def _is_monitor(info: Any) -> bool:
    """Each of the three says so; one is enough."""
    return bool(
        info.monitor_of_sink != _NO_INDEX
        or info.name.endswith(".monitor")
        or info.proplist.get("device.class") == "monitor"
    )


def _log_error(*error: Any) -> None:
    log.error("mixer: %s", error[1])
