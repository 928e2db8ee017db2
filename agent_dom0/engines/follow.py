"""Follows the engines of all guests, each in a process of its own, in the agent's event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from functools import partial

from agent_dom0.engines.apart import EngineApart
from agent_dom0.engines.calls import EngineCalls
from agent_dom0.engines.interface import Engines, GuestEngine
from agent_dom0.engines.zygote import Zygote
from xensnd.transport.interface import Transport

log = logging.getLogger("xensnd-dom0")

PROBE_SECONDS = 1.0
END_SECONDS = 0.05  # after SIGKILL


class EnginesApart(Engines):
    """`changed` is called when something needs a decision, and `lost` with the guest's domid when
    its engine has ended."""

    def __init__(
        self,
        transport: Transport,
        zygote: Zygote,
        changed: Callable[[], None],
        lost: Callable[[int, str], None],
    ) -> None:
        self._transport = transport
        self._zygote = zygote
        self._changed = changed
        self._lost = lost

    @property
    def new_client(self) -> None:
        return None

    def begin(self) -> None:
        asyncio.get_running_loop().add_reader(self._zygote.fileno(), self._on_zygotes_end)

    def of_guest(self, domid: int) -> GuestEngine:
        return _Followed(self._transport, self._zygote, self._changed, partial(self._lost, domid))

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
        lost: Callable[[str], None],
    ) -> None:
        super().__init__(transport, zygote, self._begin)
        self._changed = changed
        self._lost = lost
        self._connection: EngineCalls | None = None
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(connection.wake_fd)
            loop.remove_reader(connection.fileno())
        super().close()

    def _begin(self, connection: EngineCalls) -> None:
        loop = asyncio.get_running_loop()
        self._connection = connection
        loop.add_reader(connection.wake_fd, self._on_wake)
        loop.add_reader(connection.fileno(), self._on_message, connection)
        self._timer = loop.call_later(PROBE_SECONDS, self._on_time, connection)

    def _on_wake(self) -> None:
        self.clear()
        self._changed()

    def _on_message(self, connection: EngineCalls) -> None:
        connection.follow()
        if connection.is_lost:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            self._follow_end(connection)

    def _on_time(self, connection: EngineCalls) -> None:
        connection.probe()
        self._timer = asyncio.get_running_loop().call_later(
            PROBE_SECONDS, self._on_time, connection
        )
        if connection.is_lost:
            self._follow_end(connection)

    def _follow_end(self, connection: EngineCalls) -> None:
        """Report the loss, but not before the process has ended: another one must not serve the
        same rings beside it. _on_time() comes again."""
        if connection.why is not None and connection.has_ended(END_SECONDS):
            why = connection.why
            self.close()
            self._lost(why)
