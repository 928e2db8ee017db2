"""The clients that get events: docs/control.md, `watch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_dom0.access.prompts import Prompt
from agent_dom0.control.server import Peer


class Subscribers:
    def __init__(self) -> None:
        self._peers: list[Peer] = []

    def __bool__(self) -> bool:
        return bool(self._peers)

    def add(self, peer: Peer) -> None:
        if peer not in self._peers:
            self._peers.append(peer)

    def remove(self, peer: Peer) -> None:
        """Remove a client that has disconnected, if it was subscribed."""
        if peer in self._peers:
            self._peers.remove(peer)

    def tell(self, message: Mapping[str, Any]) -> None:
        for peer in list(self._peers):
            peer.tell(message)

    def prompt_shown(self, prompt: Prompt) -> None:
        self.tell({"event": "prompt", "prompt": prompt.described()})

    def prompt_gone(self, prompt: Prompt, why: str) -> None:
        self.tell({"event": "prompt-gone", "id": prompt.number, "why": why})
