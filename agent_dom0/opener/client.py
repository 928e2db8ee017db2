"""The agent's end of its opener: a transport whose XenStore is what the opener passes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_dom0.opener.protocol import REFUSALS, REPLY_OCTETS_MAX, REPLY_SECONDS_MAX, STORE
from xensnd.errors import TransportLost
from xensnd.transport.interface import EventChannel, Pages, StoreDescriptor, Transport
from xensnd.transport.xenstore import XenStore


class OpenerTransport(Transport):
    """`inner` maps pages and binds channels. Closing it closes both."""

    def __init__(self, control: socket.socket, inner: Transport) -> None:
        control.settimeout(REPLY_SECONDS_MAX)
        self._control = control
        self._inner = inner

    @property
    def domid(self) -> int:
        return self._inner.domid

    @property
    def runtime_directory(self) -> Path:
        return self._inner.runtime_directory

    @property
    def devices(self) -> Sequence[Path]:
        return self._inner.devices

    @property
    def ioctls(self) -> Sequence[int]:
        return self._inner.ioctls

    @property
    def may_be_restored(self) -> bool:
        return self._inner.may_be_restored

    def connect_store(self) -> StoreDescriptor:
        reply, fds = self._call(STORE)
        return StoreDescriptor(fds[0], int(reply["payload_octets_max"]))

    def open_store(self, *, timeout: float = REPLY_SECONDS_MAX) -> XenStore:
        return XenStore.over_descriptor(self.connect_store(), "the opener", timeout=timeout)

    def share_pages(self, peer_domid: int, count: int) -> Pages:
        return self._inner.share_pages(peer_domid, count)

    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        return self._inner.map_pages(peer_domid, refs, writable=writable)

    def allocate_channel(self, peer_domid: int) -> EventChannel:
        return self._inner.allocate_channel(peer_domid)

    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        return self._inner.bind_channel(peer_domid, peer_port)

    def close(self) -> None:
        self._inner.close()
        self._control.close()

    def _call(self, request: str) -> tuple[dict[str, Any], list[int]]:
        """Return the reply and its descriptors. TransportLost: the opener has ended, or has lost
        the hypervisor or XenStore."""
        try:
            self._control.send(request.encode())
            octets, fds, _, _ = socket.recv_fds(self._control, REPLY_OCTETS_MAX, 1)
        except OSError as error:
            raise TransportLost(f"the opener: {error.strerror or error}") from error
        if not octets:
            raise TransportLost("the opener has ended")
        reply = json.loads(octets)
        if "refused" in reply:
            kind, text, number = REFUSALS[reply["refused"]], reply["text"], reply["errno"]
            raise OSError(number, text) if kind is OSError else kind(text)
        return reply, fds
