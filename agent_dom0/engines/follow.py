"""Follows the engines of all guests, each in a process of its own, in the agent's event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from agent_dom0.engines.apart import EngineApart, Running
from agent_dom0.engines.calls import REPLY_SECONDS_MAX, EngineCalls
from agent_dom0.engines.interface import Engines, GuestEngine
from agent_dom0.engines.zygote import START_SECONDS_MAX, Child, Starting, Zygote
from xensnd.transport.interface import Transport

log = logging.getLogger("xensnd-dom0")

PROBE_SECONDS = 1.0
# How long the event loop waits for one reply, unless the machine is slow. An engine answers in less
# than a millisecond, if it runs.
PATIENCE_SECONDS = 0.015
# What people are shown waits for all engines together no longer than this: an answer of the control
# socket is to take 20 ms at most, whatever engines do.
HASTE_SECONDS = 0.01
# An engine that is late is replaced, which does not count as a death: perhaps it had no processor.
# So the next one is waited for longer, during so many seconds. If that is late too, it is a death.
LATE_AGAIN_SECONDS = 10.0
LATE_AGAIN_PATIENCE = 8  # times as long


class Haste:
    """Of who asks engines now: until when it may wait, in time.monotonic(); None: it has time."""

    until: float | None = None


class EnginesApart(Engines):
    """`changed` is called when something needs a decision, and `lost` when a guest's engine has
    ended: with the guest's domid, why, and whether that was the engine's fault."""

    def __init__(
        self,
        transport: Transport,
        zygote: Zygote,
        changed: Callable[[], None],
        lost: Callable[[int, str, bool], None],
    ) -> None:
        self._transport = transport
        self._zygote = zygote
        self._changed = changed
        self._lost = lost
        self._haste = Haste()

    @property
    def new_client(self) -> None:
        return None

    def begin(self) -> None:
        asyncio.get_running_loop().add_reader(self._zygote.fileno(), self._on_zygotes_end)

    def of_guest(self, domid: int) -> GuestEngine:
        lost = partial(self._lost, domid)
        return _Followed(self._transport, self._zygote, self._changed, lost, self._haste)

    @contextmanager
    def in_haste(self) -> Iterator[None]:
        self._haste.until = time.monotonic() + HASTE_SECONDS
        try:
            yield
        finally:
            self._haste.until = None

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._zygote.fileno())
        self._zygote.close()

    def _on_zygotes_end(self) -> None:
        """End too: the next agent has another one, and all engines have ended."""
        log.error("the process that starts engines has ended")
        os.kill(os.getpid(), signal.SIGKILL)


class _Followed(EngineApart):
    def __init__(
        self,
        transport: Transport,
        zygote: Zygote,
        changed: Callable[[], None],
        lost: Callable[[str, bool], None],
        haste: Haste,
    ) -> None:
        super().__init__(transport, zygote, self._begin, PATIENCE_SECONDS)
        self._changed = changed
        self._lost = lost
        self._haste = haste
        self._connection: EngineCalls | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._was_late_at = -math.inf  # in the loop's time
        self._followed: int | None = None  # the socket of a process that starts
        self._start_ends: asyncio.TimerHandle | None = None
        self._on_ready: Callable[[], None] | None = None
        self._failure: OSError | None = None  # of the last start, until it was told

    def is_ready(self, later: Callable[[], None]) -> bool:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._running is None:
            self._on_ready = later
            self._follow_start()
        return self._running is not None

    def close(self) -> None:
        self._on_ready = self._failure = None
        self._leave_start()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(connection.wake_fd)
            loop.remove_reader(connection.fileno())
            loop.remove_reader(connection.end_fd)
        super().close()

    # While it starts

    def _follow_start(self) -> None:
        if self._followed is None:
            loop = asyncio.get_running_loop()
            self._followed = self._start().fileno()
            loop.add_reader(self._followed, self._go_on, Starting.follow)
            self._start_ends = loop.call_later(START_SECONDS_MAX, self._go_on, _give_up)

    def _go_on(self, follow: Callable[[Starting], Child | None]) -> None:
        try:
            self._finish_start(follow)
        except OSError as failure:
            self._failure = failure

    def _finish_start(self, follow: Callable[[Starting], Child | None]) -> Running | None:
        try:
            return super()._finish_start(follow)
        except OSError:
            self._leave_start()
            raise

    def _leave_start(self) -> None:
        """It has come to an end, one way or the other."""
        loop = asyncio.get_running_loop()
        if self._followed is not None:
            loop.remove_reader(self._followed)
            self._followed = None
        if self._start_ends is not None:
            self._start_ends.cancel()
            self._start_ends = None
        if self._on_ready is not None:
            loop.call_soon(self._on_ready)
            self._on_ready = None

    # While it runs

    @property
    def _until(self) -> float | None:
        return self._haste.until

    @property
    def _was_late(self) -> bool:
        return asyncio.get_running_loop().time() < self._was_late_at + LATE_AGAIN_SECONDS

    def _begin(self, connection: EngineCalls) -> None:
        self._leave_start()
        loop = asyncio.get_running_loop()
        if self._was_late:
            usual_seconds = connection.patience_seconds
            longer_seconds = min(LATE_AGAIN_PATIENCE * usual_seconds, REPLY_SECONDS_MAX)
            connection.patience_seconds = longer_seconds
            loop.call_later(LATE_AGAIN_SECONDS, connection.wait_for_at_most, usual_seconds)
        self._connection = connection
        connection.on_late = partial(loop.call_later, REPLY_SECONDS_MAX, connection.end_late)
        loop.add_reader(connection.wake_fd, self._on_wake)
        loop.add_reader(connection.fileno(), self._on_message, connection)
        self._timer = loop.call_later(PROBE_SECONDS, self._on_time, connection)

    def _on_wake(self) -> None:
        self.clear()
        self._changed()

    def _on_message(self, connection: EngineCalls) -> None:
        was_late = connection.is_late
        connection.follow()
        if connection.is_lost:
            # Another engine must not serve the same rings beside it.
            loop = asyncio.get_running_loop()
            loop.remove_reader(connection.fileno())
            loop.add_reader(connection.end_fd, self._on_end, connection)
        elif was_late and not connection.is_late:
            self._on_wake()

    def _on_end(self, connection: EngineCalls) -> None:
        why, is_fault = connection.why or "", connection.is_at_fault
        self.close()
        if not is_fault:
            is_fault = self._was_late
            self._was_late_at = asyncio.get_running_loop().time()
        self._lost(why, is_fault)

    def _on_time(self, connection: EngineCalls) -> None:
        connection.probe()
        self._timer = asyncio.get_running_loop().call_later(
            PROBE_SECONDS, self._on_time, connection
        )


def _give_up(_starting: Starting) -> None:
    raise TimeoutError
