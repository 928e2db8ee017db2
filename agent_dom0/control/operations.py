"""What people's tools may ask of the running agent, and what they are told: docs/control.md."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent_dom0.access.policy_state import Permission
from agent_dom0.access.prompts import Prompt, Prompts
from agent_dom0.audit import Audit
from agent_dom0.cards.registry import Roster
from agent_dom0.control.server import Operation, Peer, number_argument, text_argument
from agent_dom0.events import EventKind, Priority, guest_event
from xensnd.control.answers import GIVEN, Answer
from xensnd.errors import UsageError
from xensnd.sndif.store_fields import Direction
from xensnd.text import quoted

GRANT_SECONDS_MAX = 31 * 86400

# Several things change at once; watchers are told after the last of them.
SETTLE_SECONDS = 0.02

# Of a stream's status: they change all the time, and nobody is told.
_RESTLESS = ("latency_ms", "level")


@dataclass(frozen=True, slots=True)
class About:
    """The agent, as `status` shows it."""

    version: str
    transport: str
    server: str | None


class Desk:
    def __init__(
        self,
        about: About,
        roster: Roster,
        permission: Permission,
        prompts: Prompts,
        audit: Audit,
        reload: Callable[[], None],
    ) -> None:
        self._about = about
        self._roster = roster
        self._permission = permission
        self._prompts = prompts
        self._audit = audit
        self._reload = reload
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._watchers: list[Peer] = []
        self._timer: asyncio.TimerHandle | None = None
        self._shown: tuple[object, list[str]] = (None, [])  # status and recording, as told last

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "status": Operation(lambda _peer, _arguments: self._status()),
            "watch": Operation(self._watch),
            "mute": Operation(lambda peer, arguments: self._mute(peer, arguments, True)),
            "unmute": Operation(lambda peer, arguments: self._mute(peer, arguments, False)),
            "volume": Operation(self._volume),
            "answer": Operation(self._answer),
            "reload": Operation(lambda _peer, _arguments: self._load()),
        }

    # What it is told by the agent

    def notice(self) -> None:
        """Something may have changed that people see."""
        if self._watchers and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SETTLE_SECONDS, self._tell_changes)

    def shown(self, prompt: Prompt) -> None:
        self._tell({"event": "prompt", "prompt": prompt.described()})

    def gone(self, prompt: Prompt, why: str) -> None:
        self._tell({"event": "prompt-gone", "id": prompt.number, "why": why})

    def left(self, peer: Peer) -> None:
        if peer in self._watchers:
            self._watchers.remove(peer)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell_changes(self) -> None:
        self._timer = None
        if not self._watchers:
            return
        recording, status = self._roster.recording(), self._restful()
        if recording != self._shown[1]:
            self._tell({"event": "recording", "guests": recording})
        if status != self._shown[0]:
            self._tell({"event": "changed"})
        self._shown = (status, recording)

    def _tell(self, message: Mapping[str, Any]) -> None:
        for peer in list(self._watchers):
            peer.tell(message)

    # Operations

    def _watch(self, peer: Peer, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._watchers:
            self._shown = (self._restful(), self._roster.recording())
        if peer not in self._watchers:
            self._watchers.append(peer)
        # After the answer, the state of things: questions are not asked twice.
        first: list[dict[str, Any]] = [{"event": "recording", "guests": self._roster.recording()}]
        first += [{"event": "prompt", "prompt": each.described()} for each in self._prompts.open]
        for message in first:
            asyncio.get_running_loop().call_soon(peer.tell, message)
        return {}

    def _status(self) -> dict[str, Any]:
        directories = self._permission.sources.all_directories
        return {
            "agent": {
                "pid": os.getpid(),
                "version": self._about.version,
                "transport": self._about.transport,
                "domid": self._roster.domid,
                "since": self._since,
            },
            "policy": {
                "directories": [str(directory) for directory in directories],
                "rules": self._permission.rules,
                "problem": self._permission.problem,
            },
            "audit": {"where": self._audit.where, "missing": self._audit.missing},
            "server": {"address": self._about.server},
            "prompts": [prompt.described() for prompt in self._prompts.open],
            "guests": self._roster.status(),
        }

    def _restful(self) -> dict[str, Any]:
        """The status without what changes all the time."""
        status = self._status()
        for prompt in status["prompts"]:
            del prompt["seconds"]
        for guest in status["guests"]:
            for device in guest["devices"]:
                for stream in device["streams"]:
                    for name in _RESTLESS:
                        del stream[name]
        return status

    def _mute(self, peer: Peer, arguments: Mapping[str, Any], muted: bool) -> Mapping[str, Any]:
        guest, direction = text_argument(arguments, "guest"), _direction(arguments)
        self._roster.knobs(guest, direction).is_muted = muted
        return self._turned(peer, guest, direction, "muted" if muted else "unmuted")

    def _volume(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        guest, direction = text_argument(arguments, "guest"), _direction(arguments)
        percent = round(number_argument(arguments, "percent", 0, 100))
        self._roster.knobs(guest, direction).percent = percent
        return self._turned(peer, guest, direction, f"volume {percent}%")

    def _turned(self, peer: Peer, guest: str, direction: Direction, what: str) -> Mapping[str, Any]:
        domid, changed = self._roster.turn(guest, direction)
        event = guest_event(
            EventKind.VOLUME_SET, guest, domid, f"{direction} {what}", Priority.NOTICE
        )
        event.fields.update(XENSND_DIRECTION=direction.value, XENSND_BY=_who(peer))
        self._audit.record(event)
        return {"changed": changed}

    def _answer(self, peer: Peer, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        number = round(number_argument(arguments, "id", 1, 2**53))
        said = text_argument(arguments, "answer")
        if said not in GIVEN:
            raise UsageError(f"answer: {quoted(said)} is none of {', '.join(GIVEN)}")
        seconds = 0.0
        if said == Answer.FOR:
            seconds = number_argument(arguments, "seconds", 1, GRANT_SECONDS_MAX)
        self._prompts.answer(number, Answer(said), seconds, _who(peer))
        return {}

    def _load(self) -> Mapping[str, Any]:
        self._reload()
        return {"problem": self._permission.problem}


def _direction(arguments: Mapping[str, Any]) -> Direction:
    said = arguments.get("direction", Direction.PLAYBACK.value)
    if said not in tuple(each.value for each in Direction):
        raise UsageError(f"direction: wants playback or capture, got {quoted(str(said))}")
    return Direction(said)


def _who(peer: Peer) -> str:
    return f"uid {peer.uid}, process {peer.pid}"
