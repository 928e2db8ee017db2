"""The commands of the control socket, and the events for its clients: docs/control.md."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompts
from agent_dom0.audio.connections import Connections
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audit import AuditTrail
from agent_dom0.control.server import Command, Peer, number_argument, text_argument
from agent_dom0.control.subscribers import Subscribers
from agent_dom0.events import EventKind, Priority, guest_event
from agent_dom0.registry import Registry
from agent_dom0.vchan.registrations import Registrations
from xensnd.control.answers import GIVEN, Answer
from xensnd.control.messages import DOMID_MAX
from xensnd.errors import UsageError
from xensnd.sndif.store_fields import Direction
from xensnd.text import quoted

GRANT_SECONDS_MAX = 31 * 86400

# Several things change at once; subscribers get one event after this time.
SETTLE_SECONDS = 0.02

# Parts of a stream's status that change all the time; they cause no event.
_FLEETING = ("latency_ms", "level")


@dataclass(frozen=True, slots=True)
class About:
    """The agent, as `status` shows it."""

    version: str
    transport: str
    server: str | None


class Operations:
    """`in_haste`: as Engines has it. `registrations`: None if no vchans are served.
    `follow_registrations` serves whom they name now. `reload` reads the policy files again."""

    def __init__(
        self,
        about: About,
        registry: Registry,
        in_haste: Callable[[], AbstractContextManager[None]],
        connections: Connections,
        mixer: Mixer,
        policy: PolicyState,
        prompts: Prompts,
        trail: AuditTrail,
        subscribers: Subscribers,
        registrations: Registrations | None,
        follow_registrations: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        self._about = about
        self._registry = registry
        self._in_haste = in_haste
        self._connections = connections
        self._mixer = mixer
        self._policy = policy
        self._prompts = prompts
        self._trail = trail
        self._subscribers = subscribers
        self._registrations = registrations
        self._follow_registrations = follow_registrations
        self._is_closed = False
        self._reload = reload
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._timer: asyncio.TimerHandle | None = None
        self._told: tuple[object, dict[str, list[str]]] = (None, {})  # status and groups, last

    @property
    def commands(self) -> Mapping[str, Command]:
        """Return the commands, by their names in `do`."""
        return {
            "status": lambda _peer, _arguments: self._status(),
            "watch": self._watch,
            "mute": lambda peer, arguments: self._mute(peer, arguments, True),
            "unmute": lambda peer, arguments: self._mute(peer, arguments, False),
            "volume": self._volume,
            "answer": self._answer,
            "release": self._release,
            "reload": lambda _peer, _arguments: self._load(),
            "register": self._register,
        }

    def tell_changes_soon(self) -> None:
        """Send events soon, if the status has changed."""
        if self._subscribers and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SETTLE_SECONDS, self._tell_changes)

    def close(self) -> None:
        """From here on, a client that leaves has not given up its guest: the agent ends."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._registrations is not None:
            self._registrations.close()

    def leave(self, peer: Peer) -> None:
        """A client has disconnected: it gets no more events, and its guest is no longer served."""
        self._subscribers.remove(peer)
        if self._registrations is None or self._is_closed:
            return
        if self._registrations.remove(peer):
            self._follow_registrations()

    def has_registered(self, peer: Peer) -> bool:
        return self._registrations is not None and self._registrations.is_held_by(peer)

    def _tell_changes(self) -> None:
        self._timer = None
        if not self._subscribers:
            return
        groups, status = self._groups(), self._lasting_status()
        for event, guests in groups.items():
            if guests != self._told[1].get(event):
                self._subscribers.tell({"event": event, "guests": guests})
        if status != self._told[0]:
            self._subscribers.tell({"event": "changed"})
        self._told = (status, groups)

    def _groups(self) -> dict[str, list[str]]:
        """The guests that people are told of, by the event that names them."""
        with self._in_haste():
            recording = self._registry.recording()
        return {"recording": recording, "quarantine": self._registry.quarantined()}

    def _watch(self, peer: Peer, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        groups = self._groups()
        if not self._subscribers:
            self._told = (self._lasting_status(), groups)
        self._subscribers.add(peer)
        # After the answer, the present state: who records, and the open questions.
        first: list[dict[str, Any]] = [
            {"event": event, "guests": guests} for event, guests in groups.items()
        ]
        first += [{"event": "prompt", "prompt": each.described()} for each in self._prompts.open]
        for message in first:
            asyncio.get_running_loop().call_soon(peer.tell, message)
        return {}

    def _status(self) -> dict[str, Any]:
        with self._in_haste():
            guests = self._registry.status()
        directories = self._policy.sources.all_directories
        return {
            "agent": {
                "pid": os.getpid(),
                "version": self._about.version,
                "transport": self._about.transport,
                "domid": self._registry.domid,
                "since": self._since,
            },
            "policy": {
                "directories": [str(directory) for directory in directories],
                "rules": self._policy.rules,
                "problem": self._policy.problem,
            },
            "audit": {"where": self._trail.where, "missing": self._trail.missing},
            "server": {
                "address": self._about.server,
                **self._connections.status(),
                "crowded_sinks": [asdict(each) for each in self._mixer.crowded_sinks],
            },
            "prompts": [prompt.described() for prompt in self._prompts.open],
            "guests": guests,
        }

    def _lasting_status(self) -> dict[str, Any]:
        """Return the status without the parts that change all the time."""
        status = self._status()
        for prompt in status["prompts"]:
            del prompt["seconds"]
        for guest in status["guests"]:
            guest["quarantine_seconds"] = guest["quarantine_seconds"] is not None
            for device in guest["devices"]:
                for stream in device["streams"]:
                    for name in _FLEETING:
                        del stream[name]
        return status

    def _mute(self, peer: Peer, arguments: Mapping[str, Any], muted: bool) -> Mapping[str, Any]:
        guest, direction = text_argument(arguments, "guest"), _direction(arguments)
        what = "muted" if muted else "unmuted"
        return self._set_volume(peer, guest, direction, what, is_muted=muted)

    def _volume(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        guest, direction = text_argument(arguments, "guest"), _direction(arguments)
        percent = round(number_argument(arguments, "percent", 0, 100))
        what = f"volume {percent}%"
        return self._set_volume(peer, guest, direction, what, percent=percent)

    def _set_volume(
        self,
        peer: Peer,
        name: str,
        direction: Direction,
        what: str,
        *,
        percent: int | None = None,
        is_muted: bool | None = None,
    ) -> Mapping[str, Any]:
        """Set it for each running guest of this name."""
        changed = 0
        for served in self._registry.named(name):
            guest = served.guest
            changed += served.set_volume(direction, percent=percent, is_muted=is_muted)
            text = f"{direction} {what}"
            event = guest_event(
                EventKind.VOLUME_SET, guest.name, guest.domid, text, Priority.NOTICE
            )
            event.fields.update(XENSND_DIRECTION=direction.value, XENSND_BY=_who(peer))
            self._trail.append(event)
        return {"changed": changed}

    def _answer(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        number = round(number_argument(arguments, "id", 1, 2**53))
        answer = text_argument(arguments, "answer")
        if answer not in GIVEN:
            raise UsageError(f"answer: {quoted(answer)} is not one of {', '.join(GIVEN)}")
        seconds = 0.0
        if answer == Answer.FOR:
            seconds = number_argument(arguments, "seconds", 1, GRANT_SECONDS_MAX)
        guest, direction = text_argument(arguments, "guest"), _direction(arguments, default=None)
        self._prompts.answer(number, guest, direction, Answer(answer), seconds, _who(peer))
        return {}

    def _release(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        guest = text_argument(arguments, "guest")
        released = self._registry.release(guest, _who(peer))
        if released == 0:
            raise UsageError(f"{quoted(guest)} is not in quarantine; it is served")
        return {"released": released}

    def _register(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Serve a guest's vchans until the client disconnects."""
        domid = round(number_argument(arguments, "domid", 1, DOMID_MAX))
        name = text_argument(arguments, "name")
        registrations = self._registrations
        if registrations is None:
            raise UsageError("this agent serves no vchans; start xensnd-dom0 with --vchan")
        registrations.add(domid, name, peer)
        self._follow_registrations()
        served = self._registry.find(domid)
        if served is not None and registrations.includes(served.guest):
            return {"name": served.guest.name}
        registrations.remove(peer)
        self._follow_registrations()
        if served is None:
            raise UsageError(f"domain {domid}: no such guest runs; running guests: {self._running}")
        raise UsageError(
            f"domain {domid} is {quoted(served.guest.name)}, not {quoted(name)}; give that name"
        )

    @property
    def _running(self) -> str:
        running = sorted(self._registry.guests(), key=lambda guest: guest.domid)
        return ", ".join(f"{guest.domid} {guest.name}" for guest in running) or "none"

    def _load(self) -> Mapping[str, Any]:
        self._reload()
        return {"problem": self._policy.problem}


def _direction(
    arguments: Mapping[str, Any], default: Direction | None = Direction.PLAYBACK
) -> Direction:
    value = arguments.get("direction", default)
    if value not in tuple(each.value for each in Direction):
        raise UsageError(f"direction: must be playback or capture, got {quoted(str(value))}")
    return Direction(value)


def _who(peer: Peer) -> str:
    return f"uid {peer.uid}, process {peer.pid}"
