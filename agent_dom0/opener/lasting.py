"""Event channels of vchans, that outlive the agent for which they were bound.

A guest whose vchan's channel is no longer bound takes its vchan for closed. So an agent that takes
over gets the same channel again, and an opener of a renewed supervisor gets all of them. The agent
may map the same pages again, too; by then the guest offers them no more.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xensnd.errors import TransportLost, XensndError
from xensnd.transport.interface import Handed, Transport

# A guest has two, and as many again while it changes from old ones to new ones.
OF_A_GUEST_MAX = 4
HAND_OVER_SECONDS = 1.0
_MESSAGE_OCTETS_MAX, _FDS_MAX = 1 << 16, 8


@dataclass(frozen=True, slots=True)
class _Lasting:
    handed: Handed
    refs: Set[int]  # the pages of its vchan


class LastingChannels:
    """`open_transport` opens the transport on which they are bound, at the first of them."""

    def __init__(self, open_transport: Callable[[], Transport]) -> None:
        self._open_transport = open_transport
        self._transport: Transport | None = None
        self._channels: dict[tuple[int, int], _Lasting] = {}  # by domid and the guest's port

    def has(self, domid: int, port: int) -> bool:
        return (domid, port) in self._channels

    def has_pages(self, domid: int, refs: Set[int]) -> bool:
        """Return whether one of the guest's vchans has all of these pages."""
        return any(
            refs <= lasting.refs for (each, _), lasting in self._channels.items() if each == domid
        )

    def bind(self, domid: int, port: int, refs: Set[int]) -> None:
        """Bind the channel of a vchan with these pages."""
        self._channels[domid, port] = _Lasting(self._bind(domid, port), refs)

    def hand(self, domid: int, port: int) -> Handed:
        """Return copies of the descriptors of a channel that is bound. The caller closes them."""
        channel = self._channels[domid, port].handed
        fds: list[int] = []
        try:
            for fd in channel.fds:
                fds.append(os.dup(fd))
        except OSError:
            Handed(fds, {}).close()
            raise
        return Handed(fds, channel.layout)

    def end(self, domid: int, port: int) -> None:
        channel = self._channels.pop((domid, port), None)
        if channel is not None and self._transport is not None:
            self._transport.end_channel(int(channel.handed.layout["port"]))
            channel.handed.close()

    def hand_over(self, to: socket.socket) -> None:
        """Send them to the opener that takes over, and keep nothing. Returns when that has them:
        they must not end in between."""
        with suppress(OSError):  # it has ended; then they end with this process
            for (domid, port), channel in self._channels.items():
                what = {
                    "domid": domid,
                    "port": port,
                    "layout": channel.handed.layout,
                    "refs": sorted(channel.refs),
                }
                socket.send_fds(to, [json.dumps(what).encode()], channel.handed.fds)
            to.shutdown(socket.SHUT_WR)
            to.settimeout(HAND_OVER_SECONDS)
            to.recv(1)
        self._channels.clear()  # not ended, and the transport is not closed, which would end them
        self._transport = None

    def inherit(self, of: socket.socket) -> None:
        """Take what an earlier opener hands over, which may be of another version. What is not
        understood or does not come is offered anew by its guest."""
        of.settimeout(HAND_OVER_SECONDS)
        with suppress(OSError):
            while True:
                octets, fds, _, _ = socket.recv_fds(of, _MESSAGE_OCTETS_MAX, _FDS_MAX)
                if not octets:
                    return
                try:
                    self._adopt(json.loads(octets), fds)
                except (OSError, XensndError, ValueError, KeyError, TypeError):
                    Handed(fds, {}).close()

    def _adopt(self, what: Mapping[str, Any], fds: list[int]) -> None:
        channel, refs = Handed(fds, what["layout"]), set(what["refs"])
        key = int(what["domid"]), int(what["port"])
        if self._transport is None:
            self._transport = self._open_transport()
        self._transport.adopt_channel(channel)
        self._channels[key] = _Lasting(channel, refs)

    def close(self) -> None:
        for domid, port in list(self._channels):
            self.end(domid, port)
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _bind(self, domid: int, port: int) -> Handed:
        if sum(domid == each for each, _ in self._channels) >= OF_A_GUEST_MAX:
            text = f"dom{domid} has {OF_A_GUEST_MAX} channels that last already"
            raise OSError(errno.EMFILE, text)
        if self._transport is None:
            self._transport = self._open_transport()
        try:
            return self._transport.hand_channel(domid, port)
        except TransportLost:
            self.close()  # the hypervisor has gone, and they with it
            raise
