"""The core's thread, and the descriptor by which it wakes Python."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Protocol

from ._core import ffi, lib


class ChannelHandle(Protocol):
    """What the core needs to know of an event channel; EventFds of xensnd.transport is one."""

    @property
    def wait_fd(self) -> int: ...
    @property
    def notify_fd(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def clear(self) -> int: ...
    @property
    def notify(self) -> int: ...


def channel_struct(channel: ChannelHandle) -> Any:
    struct = ffi.new("struct xn_channel *")
    struct.wait_fd = channel.wait_fd
    struct.notify_fd = channel.notify_fd
    struct.context = ffi.cast("void *", channel.context)
    struct.clear = ffi.cast("int (*)(void *)", channel.clear)
    struct.notify = ffi.cast("int (*)(void *)", channel.notify)
    return struct


class Engine:
    """The thread that moves samples, until close(). Close the streams and clients first."""

    def __init__(self) -> None:
        self.handle: Any = lib.xn_engine_new()
        if self.handle == ffi.NULL:
            raise OSError("the audio thread cannot be started")

    def fileno(self) -> int:
        """Return a descriptor that is readable when a stream or client needs a decision. Call
        clear(), and then check each of them."""
        return int(lib.xn_engine_wake_fd(self.handle))

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fileno())

    @property
    def wakeups(self) -> int:
        return int(lib.xn_engine_wakeups(self.handle))

    def close(self) -> None:
        if self.handle:
            lib.xn_engine_free(self.handle)
            self.handle = None
