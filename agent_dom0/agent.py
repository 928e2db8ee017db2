"""The agent: one event loop that follows XenStore, the policy files and the audio engine.

While sound plays and nothing changes, the loop sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from agent_dom0.access.dirwatch import DirectoryWatch
from agent_dom0.access.lasting_answers import LastingAnswers
from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompts
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audio.connections import Connections
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audit import open_trail
from agent_dom0.cards.factory import CardFactory
from agent_dom0.cards.front import CardFront
from agent_dom0.control.operations import About, Operations
from agent_dom0.control.server import ControlServer
from agent_dom0.control.subscribers import Subscribers
from agent_dom0.engines.follow import EnginesApart
from agent_dom0.engines.here import EnginesHere
from agent_dom0.engines.interface import Engines
from agent_dom0.engines.zygote import Zygote
from agent_dom0.events import Event, EventKind, Priority
from agent_dom0.parameters import Limits
from agent_dom0.qubes.microphone import Microphones, QubesState
from agent_dom0.registry import Registry
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.failures import FAILURES
from agent_dom0.streams.front import Front, Guests
from agent_dom0.supervisor.heartbeat import Heartbeat
from agent_dom0.supervisor.supervise import RENEW
from agent_dom0.trail_numbers import open_numbers
from agent_dom0.vchan.factory import VchanFactory
from agent_dom0.vchan.front import VchanFront
from agent_dom0.vchan.registrations import Registrations
from policy.language.files import require_trusted_directory
from policy.paths import PolicyPaths
from xensnd.backoff import BackOff
from xensnd.errors import TransportLost
from xensnd.lock import only_one
from xensnd.transport.interface import Store, Transport

log = logging.getLogger("xensnd-dom0")

# How often the agent sends a heartbeat, and tries again to write a trail that was lost, and to read
# policy files for which it had no file descriptors or memory.
HEARTBEAT_SECONDS = 1.0
STORE_RETRY_FIRST_SECONDS = 0.1
STORE_RETRY_LAST_SECONDS = 2.0
# An editor makes several changes at once, and the policy is read after the last. Capture that is
# denied must be silent within 50 ms, so the delay is short.
POLICY_SETTLE_SECONDS = 0.005
# The wall clock may be set, so it is read at least this often.
CLOCK_SECONDS = 60.0


class Vchans(StrEnum):
    """Whose sound over vchan is served."""

    ALL = "all"  # that of all guests that can be found, and of those that are registered
    REGISTERED = "registered"


@dataclass(frozen=True, slots=True)
class Settings:
    transport: Transport
    policy: PolicyPaths
    about: About
    audit: str  # `journal`, or the path of a file
    inotify: int  # for the policy's files
    limits: Limits
    control: Path  # the control socket
    control_group: str | None
    ask_seconds: float  # how long a question waits for an answer
    zygote: Zygote | None = None  # of engines for each guest; None: one engine for all, here
    vchans: Vchans | None = None  # whose sound over vchan is served, besides sndif's cards
    qubesdb: Path | None = None  # the socket of QubesDB; None: this is not Qubes


class Agent:
    def __init__(self, settings: Settings) -> None:
        self._transport = settings.transport
        self._queue = DecisionQueue(self._decide_anew)
        self._trail = open_trail(settings.audit, partial(self._queue.reconsider, Reason.AUDIT))
        qubes = QubesState(is_qubes=settings.qubesdb is not None)
        self._policy = PolicyState(settings.policy, self._trail, self._queue, qubes.why_not)
        self._watch = DirectoryWatch(
            settings.policy.watched_directories, settings.policy.tags_file, settings.inotify
        )
        self._engines = self._new_engines(settings.zygote)
        self._connections = Connections(self._engines.new_client, settings.about.server)
        self._mixer = Mixer(settings.about.server, self._tell_others)
        subscribers = Subscribers()
        lasting_answers = LastingAnswers(self._policy)
        self._prompts = Prompts(
            self._trail,
            subscribers,
            self._queue,
            lasting_answers.write,
            settings.ask_seconds,
            self._mixer.find_default_source,
        )
        factory = Factory(
            settings.transport,
            self._engines.of_guest,
            self._connections,
            self._mixer,
            self._policy,
            self._prompts,
            self._trail,
            settings.limits,
            self._run,
        )
        fronts: list[Callable[[Guests], Front]] = [
            partial(CardFront, policy=self._policy, factory=CardFactory(factory))
        ]
        self._registrations: Registrations | None = None
        if settings.vchans is not None:
            kept = settings.transport.runtime_directory / "registered.json"
            self._registrations = Registrations(kept, self._on_store)
            vchan_front = partial(
                VchanFront,
                factory=VchanFactory(factory),
                registrations=self._registrations,
                serves_all=settings.vchans is Vchans.ALL,
            )
            fronts.append(vchan_front)
        self._registry = Registry(
            settings.transport.domid, factory, fronts, self._policy, self._queue
        )
        self._microphones = (
            Microphones(
                settings.qubesdb, qubes, self._registry, self._policy, self._trail, self._queue
            )
            if settings.qubesdb is not None
            else None
        )
        self._operations = Operations(
            settings.about,
            self._registry,
            self._engines.in_haste,
            self._connections,
            self._mixer,
            self._policy,
            self._prompts,
            self._trail,
            subscribers,
            self._registrations,
            self._on_store,
            self._load_policy,
        )
        self._control = ControlServer(
            settings.control,
            self._operations.commands,
            self._operations.leave,
            settings.control_group,
            stays=self._operations.has_registered,
        )
        self._store: Store | None = None
        self._store_timer: asyncio.TimerHandle | None = None  # set while the store is lost
        self._store_back_off = BackOff(STORE_RETRY_FIRST_SECONDS, STORE_RETRY_LAST_SECONDS)
        self._policy_timer: asyncio.TimerHandle | None = None
        self._is_policy_watched = True
        self._clock_timer: asyncio.TimerHandle | None = None
        self._is_new = True  # has not read yet which streams are open
        self._stopped = asyncio.Event()
        self._is_renewed = False

    async def run(self, heartbeat: Heartbeat) -> None:
        """Serve until SIGTERM or SIGINT. The agent is ready when it has seen all running guests."""
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
        loop.add_signal_handler(signal.SIGHUP, self._reload, heartbeat)
        loop.add_signal_handler(RENEW, self._retire)
        self._engines.begin()
        loop.add_reader(self._watch.fileno(), self._on_policy_files)
        numbers = runtime_directory / f"trail-{domid}"
        self._trail.number_by(open_numbers(numbers, self._trail.where))
        self._trail.append(Event(EventKind.AGENT_STARTED, "the agent has started"))
        self._load_policy()
        if self._registrations is not None:
            self._registrations.begin()
        self._open_store()
        self._schedule_next_change()
        self._control.start()
        tasks = [
            asyncio.create_task(self._stopped.wait()),
            asyncio.create_task(self._beat(heartbeat)),
        ]
        if self._microphones is not None:
            tasks.append(asyncio.create_task(self._microphones.run()))
        try:
            heartbeat.ready()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an unexpected exception ends the agent
        finally:
            for task in tasks:
                task.cancel()
            self._close()
            os.close(lock)

    def _retire(self) -> None:
        """End, since the agent of a renewed supervisor takes over."""
        self._is_renewed = True
        self._stopped.set()

    def _close(self) -> None:
        """States stay as they are: an agent that starts again takes the devices over."""
        for timer in (self._store_timer, self._policy_timer, self._clock_timer):
            if timer is not None:
                timer.cancel()
        self._queue.close()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._watch.fileno())
        if self._store is not None:
            loop.remove_reader(self._store.fileno())
        self._operations.close()
        self._control.close()
        self._prompts.close()
        self._registry.close(is_renewed=self._is_renewed)
        self._mixer.close()
        self._engines.close()
        if self._store is not None:
            self._store.close()
        self._trail.append(Event(EventKind.AGENT_STOPPED, "the agent has stopped"))
        while self._trail.retry():
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
        self._with_store(self._registry.use_store)
        if self._store is None:
            return  # lost again, or it refuses
        if self._store_back_off.has_failed:
            self._trail.append(Event(EventKind.STORE_FOUND, "XenStore is back", Priority.NOTICE))
        self._store_back_off.reset()
        if self._is_new:
            self._is_new = False
            self._policy.release_others(self._registry.open_stream_ids())

    def _on_store(self) -> None:
        self._with_store(self._registry.follow_store)

    def _with_store(self, work: Callable[[Store], None]) -> None:
        """Do work during which XenStore may be lost. Sound goes on then."""
        if self._store is None:
            return
        store = self._store
        self._run(lambda: work(store))

    def _tell_others(self) -> None:
        """Tell clients of the control socket and Qubes soon, if anything has changed."""
        self._operations.tell_changes_soon()
        if self._microphones is not None:
            self._microphones.wake()

    def _lose_store(self, error: BaseException) -> None:
        if self._store_timer is not None:
            return
        loop = asyncio.get_running_loop()
        if self._store is not None:
            loop.remove_reader(self._store.fileno())
            self._store.close()
            self._store = None
        if not self._store_back_off.has_failed:
            self._trail.append(
                Event(
                    EventKind.STORE_LOST,
                    f"XenStore: {error}; sound goes on, new devices wait until it is back",
                    Priority.WARNING,
                )
            )
        self._store_timer = loop.call_later(self._store_back_off.next_seconds(), self._open_store)

    def _new_engines(self, zygote: Zygote | None) -> Engines:
        if zygote is None:
            return EnginesHere(self._transport, self._on_engine)
        return EnginesApart(self._transport, zygote, self._on_engine, self._lose_engine)

    def _on_engine(self) -> None:
        self._run(self._registry.poll)

    def _lose_engine(self, domid: int, why: str, is_fault: bool) -> None:
        self._run(lambda: self._registry.lose_engine(domid, why, is_fault=is_fault))

    def _run(self, work: Callable[[], None]) -> None:
        """Do work for guests, during which XenStore or the hypervisor may be lost.

        The registry contains failures for one guest. Any other one may have left some of the work
        undone, so all is read again, over a new connection.
        """
        try:
            work()
        except (TransportLost, *FAILURES) as error:
            self._lose_store(error)
        self._tell_others()

    # Policy and audit

    def _on_policy_files(self) -> None:
        self._watch.clear()
        if self._policy_timer is None:
            loop = asyncio.get_running_loop()
            self._policy_timer = loop.call_later(POLICY_SETTLE_SECONDS, self._load_policy)

    def _load_policy(self) -> None:
        if self._policy_timer is not None:
            self._policy_timer.cancel()
            self._policy_timer = None
        self._watch_policy()
        self._policy.load()

    def _watch_policy(self) -> None:
        """Watch all files. If that fails, they are read again with each heartbeat."""
        try:
            self._watch.rearm()
        except OSError as error:
            if self._is_policy_watched:
                log.warning("the policy cannot be watched, so it is read each second: %s", error)
            self._is_policy_watched = False
        else:
            self._is_policy_watched = True

    def _decide_anew(self, _reasons: Set[Reason]) -> None:
        """Decide all streams again, and create or remove cards as policy says now."""
        self._registry.decide()
        self._policy.follow_time()
        self._with_store(lambda _store: self._registry.provision())
        if self._microphones is not None:
            self._microphones.follow_policy()
        self._schedule_next_change()

    def _schedule_next_change(self) -> None:
        """Set a timer for the time when the next rule begins or ends to apply."""
        if self._clock_timer is not None:
            self._clock_timer.cancel()
            self._clock_timer = None
        change = self._policy.next_change()
        if change is not None:
            seconds = min(max(change.total_seconds(), 0.0) + 0.001, CLOCK_SECONDS)
            loop = asyncio.get_running_loop()
            self._clock_timer = loop.call_later(seconds, self._queue.reconsider, Reason.TIME)

    # Its supervisor

    async def _beat(self, heartbeat: Heartbeat) -> None:
        """Send heartbeats with a summary. The summary asks the core, so a core that hangs stops the
        heartbeats too."""
        while True:
            with self._engines.in_haste():
                summary = self._registry.summary()
            heartbeat.alive(summary)
            await asyncio.sleep(HEARTBEAT_SECONDS)
            while self._trail.retry():
                await asyncio.sleep(0)
            if self._policy.lacks_resources or not self._is_policy_watched:
                self._watch_policy()
                self._policy.load(is_routine=True)

    def _reload(self, heartbeat: Heartbeat) -> None:
        self._load_policy()
        heartbeat.ready()
