"""An agent that only speaks: the control socket of docs/control.md, for tests of its clients."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.unix_server import UnixServer

Message = Mapping[str, Any]


def stream(name: str = "0/1", **fields: object) -> dict[str, Any]:
    return {
        "name": name,
        "direction": "capture",
        "state": "running",
        "sound": "s16_le 48000 Hz, 2 channels, buffer 65536 octets",
        "decision": "allow",
        "source": "/etc/xensnd/policy.d/30-user.yaml:4",
        "reason": "first rule that matches",
        "is_heard": True,
        "problem": None,
        "device": "microphone",
        "latency_ms": 21.5,
        "level": 0.31,
        "volume_percent": 60,
        "is_muted": False,
        "gaps": 0,
        "late_octets": 0,
        **fields,
    }


def guest(name: str, *streams: Message, domid: int = 7, **fields: object) -> dict[str, Any]:
    return {
        "name": name,
        "domid": domid,
        "uuid": None,
        "label": None,
        "quarantine_seconds": None,
        "records": False,
        "plays": False,
        "devices": [{"devid": 0, "state": "connected", "streams": list(streams)}],
        **fields,
    }


def prompt(number: int, name: str, direction: str = "capture", domid: int = 7) -> dict[str, Any]:
    return {"id": number, "guest": name, "domid": domid, "direction": direction, "seconds": 30.0}


def status(*guests: Message, prompts: tuple[Message, ...] = (), **fields: object) -> dict[str, Any]:
    return {
        "agent": {
            "pid": 812,
            "version": "0.1.0",
            "transport": "xen:",
            "domid": 0,
            "since": "2026-11-20T09:12:00+00:00",
        },
        "policy": {"directories": ["/etc/xensnd/policy.d"], "rules": 4, "problem": None},
        "audit": {"where": "journal", "missing": 0},
        "server": {
            "address": None,
            "connections": 2,
            "connections_max": 24,
            "playback_streams": 1,
            "capture_streams": 2,
            "streams_max": 224,
            "crowded_sinks": [],
        },
        "prompts": list(prompts),
        "guests": list(guests),
        **fields,
    }


class FakeAgent(UnixServer):
    """Says what it was given to say, and keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.status = status()
        self.refusals: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._watchers: list[socket.socket] = []

    def tell(self, event: str, **fields: object) -> None:
        """To all that watch."""
        line = _line({"event": event, **fields})
        with self._heard:
            for watcher in self._watchers:
                watcher.sendall(line)

    def ask(self, number: int, name: str, direction: str = "capture") -> None:
        self.status["prompts"].append(prompt(number, name, direction))
        self.tell("prompt", prompt=prompt(number, name, direction))

    def await_request(self, operation: str, count: int = 1, seconds: float = 10) -> dict[str, Any]:
        """The latest, once there are so many."""

        def asked() -> list[dict[str, Any]]:
            return [each for each in self.requests if each.get("do") == operation]

        with self._heard:
            found = self._heard.wait_for(lambda: len(asked()) >= count, seconds)
            assert found, f"no {count} x {operation} in {self.requests}"
            return asked()[-1]

    def await_watchers(self, count: int = 1, seconds: float = 10) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: len(self._watchers) == count, seconds)

    def serve(self, client: socket.socket) -> None:
        with client.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                request = json.loads(line)
                assert request["version"] == 1
                with self._heard:
                    self.requests.append(request)
                    client.sendall(_line(self._answer(request)))
                    if request["do"] == "watch":
                        names = [each["name"] for each in self.status["guests"] if each["records"]]
                        client.sendall(_line({"event": "recording", "guests": names}))
                        self._watchers.append(client)
                    self._heard.notify_all()
        with self._heard:
            if client in self._watchers:
                self._watchers.remove(client)
            self._heard.notify_all()

    def _answer(self, request: Message) -> Message:
        operation = request["do"]
        if operation in self.refusals:
            return {"ok": False, "error": self.refusals[operation]}
        if operation == "status":
            return {"ok": True, **self.status}
        if operation in {"mute", "unmute", "volume"}:
            return {"ok": True, "changed": 1}
        return {"ok": True}


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"
