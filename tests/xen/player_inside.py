"""In a guest: an application that plays files through libpulse as it is told, a JSON line at a
time. The other end is peer.Peer. Sounds are raw stereo S16 at 48 kHz.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.peer import serve

WAIT_SECONDS = 20
POLL_SECONDS = 0.005
S16_LE = 3
CONTEXT_READY, STREAM_READY, RUNNING = 4, 2, 0


class SampleSpec(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_int),
        ("rate_hz", ctypes.c_uint32),
        ("channels", ctypes.c_uint8),
    )


class Pulse:
    """libpulse's functions without their prefix; pointers are plain numbers."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libpulse.so.0")

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = self._library[f"pa_{name}"]
        function.restype = ctypes.c_void_p if name in POINTERS else ctypes.c_int
        return function


POINTERS = {
    *("threaded_mainloop_new", "threaded_mainloop_get_api", "context_new", "stream_new"),
    *("stream_cork", "stream_flush", "stream_drain", "stream_trigger"),
}


def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(POLL_SECONDS)


class Player:
    """Streams are known by their numbers, from 0 on."""

    def __init__(self) -> None:
        self._pulse = Pulse()
        pulse = self._pulse
        self._loop = ctypes.c_void_p(pulse.threaded_mainloop_new())
        api = ctypes.c_void_p(pulse.threaded_mainloop_get_api(self._loop))
        self._context = ctypes.c_void_p(pulse.context_new(api, b"player"))
        pulse.context_connect(self._context, None, 0, None)
        pulse.threaded_mainloop_start(self._loop)
        self._await(
            lambda: pulse.context_get_state(self._context) == CONTEXT_READY, "no connection"
        )
        self._streams: list[ctypes.c_void_p] = []

    def play(self, path: str) -> int:
        """Begins to play the file, in a stream of its own. Its number at the server."""
        spec = SampleSpec(S16_LE, 48000, 2)
        pulse = self._pulse
        with self:
            stream = ctypes.c_void_p(
                pulse.stream_new(self._context, path.encode(), ctypes.byref(spec), None)
            )
            pulse.stream_connect_playback(stream, None, None, 0, None, None)
        self._await(lambda: pulse.stream_get_state(stream) == STREAM_READY, "no stream")
        self._streams.append(stream)
        self._write(len(self._streams) - 1, path)
        with self:
            return pulse.stream_get_index(stream)

    def pause(self, which: int) -> None:
        self._do("stream_cork", which, 1)

    def resume(self, which: int) -> None:
        self._do("stream_cork", which, 0)

    def seek(self, which: int, path: str) -> None:
        """Instead of what it has not played yet, it plays this file."""
        self._do("stream_flush", which)
        self._write(which, path)

    def drain(self, which: int) -> None:
        """Until all has been played. Then the stream is closed."""
        self._do("stream_drain", which)
        with self:
            self._pulse.stream_disconnect(self._streams[which])

    def _write(self, which: int, path: str) -> None:
        """All of it before any is played, so that the server never waits for this process."""
        octets = Path(path).read_bytes()
        with self:
            self._pulse.stream_write(
                self._streams[which],
                *(octets, ctypes.c_size_t(len(octets)), None, ctypes.c_int64(0), 0),
            )
        self._do("stream_trigger", which)

    def _do(self, function: str, which: int, *arguments: int) -> None:
        """Until the server has done it."""
        with self:
            operation = ctypes.c_void_p(
                getattr(self._pulse, function)(self._streams[which], *arguments, None, None)
            )
        self._await(lambda: self._pulse.operation_get_state(operation) != RUNNING, function)
        with self:
            self._pulse.operation_unref(operation)

    def _await(self, condition: Callable[[], bool], complaint: str) -> None:
        def locked() -> bool:
            with self:
                return condition()

        wait_until(locked, complaint)

    def __enter__(self) -> None:
        self._pulse.threaded_mainloop_lock(self._loop)

    def __exit__(self, *_: object) -> None:
        self._pulse.threaded_mainloop_unlock(self._loop)


if __name__ == "__main__":
    serve(Player())
