"""The agent: one event loop that follows XenStore, the policy files and the audio engine.

While sound plays and nothing changes, none of these has anything to say and the loop sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xensnd.core import Engine
from xensnd.errors import TransportLost
from xensnd.lock import only_one
from xensnd.transport.interface import Store, Transport

from .audit import Audit
from .events import Event, EventKind, Priority
from .inotify import DirectoryWatch
from .limits import Limits
from .permission import Permission
from .roster import Roster
from .stream import Services

log = logging.getLogger("xensnd-dom0")

AUDIT_RETRY_SECONDS = 1.0
STORE_RETRY_FIRST_SECONDS = 0.1
STORE_RETRY_LAST_SECONDS = 2.0
# An editor makes several changes at once; the policy is read after the last of them.
POLICY_SETTLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Settings:
    transport: Transport
    policy_directories: Sequence[Path]
    server: str | None  # as in PULSE_SERVER
    audit: Audit
    limits: Limits


class Agent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport = settings.transport
        self._audit = settings.audit
        self._permission = Permission(settings.policy_directories, settings.audit)
        self._engine = Engine()
        self._services = Services(
            self._transport,
            self._engine,
            self._permission,
            self._audit.record,
            settings.limits,
            self._on_engine,
        )
        self._watch = DirectoryWatch(settings.policy_directories)
        self._store: Store | None = None
        self._store_timer: asyncio.TimerHandle | None = None  # set while the store is lost
        self._store_retry_seconds = STORE_RETRY_FIRST_SECONDS
        self._roster = Roster(self._services, settings.server, settings.audit.record)
        self._policy_timer: asyncio.TimerHandle | None = None
        self._stopped = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT. `ready` is called once everything that runs has been seen."""
        domid = self._transport.domid
        lock = only_one(
            self._transport.runtime_directory / f"backend-{domid}.lock",
            f"another xensnd-dom0 (process {{pid}}) serves domain {domid} already; stop it first",
        )
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_policy)
        loop.add_reader(self._engine.fileno(), self._on_engine)
        loop.add_reader(self._watch.fileno(), self._on_policy_files)
        self._audit.on_change = self._follow_policy
        self._audit.record(Event(EventKind.AGENT_STARTED, "the agent has started"))
        self._permission.load()
        self._open_store()
        retry_audit = asyncio.create_task(self._retry_audit())
        try:
            ready()
            await self._stopped.wait()
        finally:
            retry_audit.cancel()
            self._close()
            os.close(lock)

    def _close(self) -> None:
        """States stay as they are: an agent that starts again takes the devices over."""
        self._roster.close()
        self._engine.close()
        if self._store is not None:
            self._store.close()
        self._watch.close()
        self._audit.record(Event(EventKind.AGENT_STOPPED, "the agent has stopped"))

    # XenStore

    def _open_store(self) -> None:
        loop = asyncio.get_running_loop()
        self._store_timer = None
        try:
            store = self._transport.open_store()
        except TransportLost as error:
            self._lose_store(error)
            return
        self._store = store
        loop.add_reader(store.fileno(), self._on_store)
        if self._store_retry_seconds != STORE_RETRY_FIRST_SECONDS:
            self._audit.record(Event(EventKind.STORE_FOUND, "XenStore is back", Priority.NOTICE))
        self._store_retry_seconds = STORE_RETRY_FIRST_SECONDS
        self._with_store(self._roster.use_store)

    def _on_store(self) -> None:
        self._with_store(self._roster.follow_store)

    def _with_store(self, work: Callable[[Store], None]) -> None:
        """Does work that may find XenStore gone, which is no reason to stop the sound."""
        if self._store is None:
            return
        try:
            work(self._store)
        except TransportLost as error:
            self._lose_store(error)

    def _lose_store(self, error: TransportLost) -> None:
        if self._store_timer is not None:
            return
        loop = asyncio.get_running_loop()
        if self._store is not None:
            loop.remove_reader(self._store.fileno())
            self._store.close()
            self._store = None
        if self._store_retry_seconds == STORE_RETRY_FIRST_SECONDS:
            self._audit.record(
                Event(
                    EventKind.STORE_LOST,
                    f"XenStore: {error}; sound goes on, new devices wait until it is back",
                    Priority.WARNING,
                )
            )
        self._store_timer = loop.call_later(self._store_retry_seconds, self._open_store)
        self._store_retry_seconds = min(self._store_retry_seconds * 2, STORE_RETRY_LAST_SECONDS)

    def _on_engine(self) -> None:
        self._engine.clear()
        try:
            self._roster.look()
        except TransportLost as error:
            self._lose_store(error)

    # Policy and audit

    def _on_policy_files(self) -> None:
        self._watch.clear()
        if self._policy_timer is not None:
            self._policy_timer.cancel()
        loop = asyncio.get_running_loop()
        self._policy_timer = loop.call_later(POLICY_SETTLE_SECONDS, self._reload_policy)

    def _reload_policy(self) -> None:
        self._watch.rearm()
        self._permission.load()
        self._follow_policy()

    def _follow_policy(self) -> None:
        self._roster.follow_policy()
        self._with_store(self._roster.provision)

    async def _retry_audit(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_RETRY_SECONDS)
            self._audit.retry()
