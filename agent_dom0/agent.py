"""The agent: one event loop that follows XenStore, the policy files and the audio engine.

While sound plays and nothing changes, none of these has anything to say and the loop sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent_dom0.access.dirwatch import DirectoryWatch
from agent_dom0.access.policy_state import Permission, Sources
from agent_dom0.access.prompts import Answer, Prompt, Prompts
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audit import Audit
from agent_dom0.cards.registry import Roster
from agent_dom0.control.operations import About, Desk
from agent_dom0.control.server import ControlServer
from agent_dom0.events import Event, EventKind, Priority, guest_event
from agent_dom0.guest import Guest
from agent_dom0.parameters import Limits
from agent_dom0.qubes.microphone import Microphones
from agent_dom0.services import Services
from agent_dom0.supervisor.heartbeat import Lifeline
from policy.language.files import require_trusted_directory
from policy.model import Verb
from xensnd.core import Engine
from xensnd.errors import TransportLost, XensndError
from xensnd.lock import only_one
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Store, Transport

log = logging.getLogger("xensnd-dom0")

# How often the agent says that it is alive, and tries a trail that was lost.
HEARTBEAT_SECONDS = 1.0
STORE_RETRY_FIRST_SECONDS = 0.1
STORE_RETRY_LAST_SECONDS = 2.0
# An editor makes several changes at once; the policy is read after them. Capture that is denied
# falls silent within 50 ms, so there is no time to wait longer.
POLICY_SETTLE_SECONDS = 0.005
# The wall clock may be set, so it is looked at again, however far away the next change is.
CLOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    transport: Transport
    policy: Sources
    about: About
    audit: Audit
    limits: Limits
    control: Path  # the socket that people's tools talk with
    control_group: str | None
    ask_seconds: float  # how long a person's answer is waited for
    qubesdb: Path | None = None  # the socket of Qubes' database; None: this is no Qubes


class Agent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport = settings.transport
        self._audit = settings.audit
        self._permission = Permission(settings.policy, settings.audit)
        self._prompts = Prompts(self._shown, self._gone, self._follow_policy, settings.ask_seconds)
        self._engine = Engine()
        self._services = Services(
            self._transport,
            self._engine,
            self._permission,
            self._prompts,
            self._audit.record,
            settings.limits,
            self._serve,
            self._write_down,
        )
        self._watch = DirectoryWatch(settings.policy.all_directories, settings.policy.tags_file)
        self._store: Store | None = None
        self._store_timer: asyncio.TimerHandle | None = None  # set while the store is lost
        self._store_retry_seconds = STORE_RETRY_FIRST_SECONDS
        self._mixer = Mixer(settings.about.server, self._notice)
        self._roster = Roster(self._services, self._mixer, settings.audit.record)
        self._desk = Desk(
            settings.about,
            self._roster,
            self._permission,
            self._prompts,
            self._audit,
            self._reload_policy,
        )
        self._microphones = Microphones(
            settings.qubesdb,
            self._roster,
            self._permission,
            settings.audit.record,
            self._reload_policy,
            self._follow_policy,
        )
        self._permission.withheld = self._microphones.why_not
        self._control = ControlServer(
            settings.control, self._desk.operations, settings.control_group
        )
        self._control.on_leave = self._desk.left
        self._policy_timer: asyncio.TimerHandle | None = None
        self._clock_timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._is_new = True  # has not seen which streams were open before it
        self._stopped = asyncio.Event()

    async def run(self, lifeline: Lifeline) -> None:
        """Until SIGTERM or SIGINT. Ready once everything that runs has been seen."""
        domid = self._transport.domid
        runtime_directory = self._transport.runtime_directory
        require_trusted_directory(runtime_directory)
        lock = only_one(
            runtime_directory / f"backend-{domid}.lock",
            f"another xensnd-dom0 (process {{pid}}) serves domain {domid} already; stop it first",
        )
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload, lifeline)
        loop.add_reader(self._engine.fileno(), self._on_engine)
        loop.add_reader(self._watch.fileno(), self._on_policy_files)
        self._audit.on_change = self._follow_policy
        self._audit.record(Event(EventKind.AGENT_STARTED, "the agent has started"))
        self._permission.load()
        self._open_store()
        self._wind_clock()
        await self._control.start()
        tasks = [
            asyncio.create_task(self._stopped.wait()),
            asyncio.create_task(self._beat(lifeline)),
        ]
        if self._settings.qubesdb is not None:
            tasks.append(asyncio.create_task(self._microphones.run()))
        try:
            lifeline.ready()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # what none of them expected is for the supervisor
        finally:
            for task in tasks:
                task.cancel()
            self._close()
            os.close(lock)

    def _close(self) -> None:
        """States stay as they are: an agent that starts again takes the devices over."""
        for timer in (self._store_timer, self._policy_timer, self._clock_timer):
            if timer is not None:
                timer.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._watch.fileno())
        loop.remove_reader(self._engine.fileno())
        if self._store is not None:
            loop.remove_reader(self._store.fileno())
        self._control.close()
        self._desk.close()
        self._prompts.close()
        self._roster.close()
        self._mixer.close()
        self._engine.close()
        if self._store is not None:
            self._store.close()
        self._watch.close()
        self._audit.record(Event(EventKind.AGENT_STOPPED, "the agent has stopped"))
        while self._audit.retry():
            pass

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
        if self._is_new and self._store is not None:
            self._is_new = False
            self._permission.release_others(self._roster.open_streams())

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
        self._notice()

    def _notice(self) -> None:
        """Something may have changed that others follow."""
        self._desk.notice()
        self._microphones.notice()

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
        self._serve(self._roster.look)

    def _serve(self, work: Callable[[], None]) -> None:
        """Does work for guests, in which XenStore or the hypervisor may be found gone."""
        try:
            work()
        except TransportLost as error:
            self._lose_store(error)
        self._notice()

    # Policy and audit

    def _on_policy_files(self) -> None:
        self._watch.clear()
        if self._policy_timer is None:
            loop = asyncio.get_running_loop()
            self._policy_timer = loop.call_later(POLICY_SETTLE_SECONDS, self._reload_policy)

    def _reload_policy(self) -> None:
        if self._policy_timer is not None:
            self._policy_timer.cancel()
            self._policy_timer = None
        self._watch.rearm()
        self._permission.load()
        self._follow_policy()

    def _follow_policy(self) -> None:
        self._roster.follow_policy()
        self._with_store(self._roster.provision)
        self._microphones.policy_changed()
        self._wind_clock()

    def _on_clock(self) -> None:
        self._clock_timer = None
        self._permission.follow_time()
        self._follow_policy()

    def _wind_clock(self) -> None:
        """Wakes when the next rule begins or ends to hold."""
        if self._clock_timer is not None:
            self._clock_timer.cancel()
            self._clock_timer = None
        change = self._permission.next_change()
        if change is not None:
            seconds = min(max(change.total_seconds(), 0.0) + 0.001, CLOCK_SECONDS)
            self._clock_timer = asyncio.get_running_loop().call_later(seconds, self._on_clock)

    # Questions

    def _shown(self, prompt: Prompt) -> None:
        self._say_prompt(EventKind.PROMPT_SHOWN, prompt, "the person is asked", {})
        self._desk.shown(prompt)

    def _gone(self, prompt: Prompt, why: str, by: str) -> None:
        fields = {"XENSND_ANSWER": why, **({"XENSND_BY": by} if by else {})}
        self._say_prompt(EventKind.PROMPT_ANSWERED, prompt, f"asked: {why}", fields)
        self._desk.gone(prompt, why)
        # Another stream of the guest may have waited for this one's question to end.
        asyncio.get_running_loop().call_soon(self._follow_policy)

    def _say_prompt(
        self, kind: EventKind, prompt: Prompt, what: str, fields: dict[str, str]
    ) -> None:
        text = f"{prompt.direction} {what}"
        event = guest_event(kind, prompt.guest, prompt.domid, text, Priority.NOTICE)
        event.fields.update(
            XENSND_DIRECTION=prompt.direction.value, XENSND_PROMPT=prompt.number, **fields
        )
        self._audit.record(event)

    def _write_down(
        self, guest: Guest, direction: Direction, answer: Answer, seconds: float
    ) -> None:
        """An answer that is to last. Somebody else may be editing: sound does not wait for them."""
        task = asyncio.create_task(self._write(guest.name, direction, answer, seconds))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(
        self, guest: str, direction: Direction, answer: Answer, seconds: float
    ) -> None:
        permission = self._permission
        try:
            if answer is Answer.FOR:
                await asyncio.to_thread(permission.write_grant, guest, direction, seconds)
            else:
                verb = Verb.ALLOW if answer is Answer.ALWAYS else Verb.DENY
                await asyncio.to_thread(permission.write_rule, guest, direction, verb)
        except XensndError as error:
            log.warning(
                "%s: %s %s holds for this stream alone: %s", guest, direction, answer, error
            )
        else:
            self._reload_policy()

    # Its supervisor

    async def _beat(self, lifeline: Lifeline) -> None:
        """Says in the same breath what it does, for which streams are asked in the core: were that
        stuck, nothing would be said."""
        while True:
            lifeline.alive(self._roster.summary())
            await asyncio.sleep(HEARTBEAT_SECONDS)
            while self._audit.retry():
                await asyncio.sleep(0)

    def _reload(self, lifeline: Lifeline) -> None:
        self._reload_policy()
        lifeline.ready()
