"""The agent's end of its opener: a transport without devices of its own."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agent_dom0.opener.protocol import (
    BIND,
    BIND_LASTING,
    CARD,
    END,
    END_LASTING,
    FDS_IN_A_REPLY_MAX,
    HELLO,
    MAP,
    REFUSALS,
    REPLY_OCTETS_MAX,
    REPLY_SECONDS_MAX,
    STORE,
)
from xensnd.errors import LocalProtocolError, TransportLost
from xensnd.transport.interface import (
    EventChannel,
    Handed,
    Pages,
    Receiver,
    StoreDescriptor,
    Transport,
    map_handed,
    require_u32,
)
from xensnd.transport.xenstore import REPLY_SECONDS_MAX as STORE_SECONDS_MAX
from xensnd.transport.xenstore import SOCKET_REQUESTS_AT_ONCE, XenStore


class OpenerTransport(Transport):
    """Takes what guests offer; an agent offers nothing itself. Call connect() first."""

    def __init__(self, control: socket.socket, receiver: Receiver) -> None:
        control.settimeout(REPLY_SECONDS_MAX)
        self._control = control
        self._receiver = receiver
        self._domid = 0
        self._runtime = Path()

    def connect(self) -> None:
        """Wait for the opener. Raises what its own transport cannot be opened for."""
        hello = self._call(HELLO).layout
        self._domid = int(hello["domid"])
        self._runtime = Path(hello["runtime"])

    @property
    def domid(self) -> int:
        return self._domid

    @property
    def runtime_directory(self) -> Path:
        return self._runtime

    @property
    def ioctls(self) -> Sequence[int]:
        """The commands of ioctl(2) that it needs."""
        return self._receiver.ioctls

    def connect_store(self) -> StoreDescriptor:
        handed = self._call(STORE)
        payload_octets_max = int(handed.layout["payload_octets_max"])
        return StoreDescriptor(handed.fds[0], payload_octets_max, SOCKET_REQUESTS_AT_ONCE)

    def open_store(self, *, timeout: float = STORE_SECONDS_MAX) -> XenStore:
        return XenStore.over_descriptor(self.connect_store(), "the opener", timeout=timeout)

    def recent_card_nodes(self, peer_domid: int, devid: int) -> Mapping[str, str] | None:
        found = self._call(CARD, domid=peer_domid, devid=devid).layout["nodes"]
        return None if found is None else dict(found)

    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        return map_handed(self, self._receiver, peer_domid, refs, writable=writable)

    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        handed = self.hand_channel(peer_domid, peer_port)
        port = int(handed.layout["port"])
        try:
            return self._receiver.receive_channel(handed, lambda: self.end_channel(port))
        except OSError:
            self.end_channel(port)
            raise

    def bind_lasting_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        handed = self.hand_lasting_channel(peer_domid, peer_port)
        return self._receiver.receive_channel(handed, lambda: None)

    def end_lasting_channel(self, peer_domid: int, peer_port: int) -> None:
        with suppress(TransportLost, OSError):  # it ends with the opener
            self._call(END_LASTING, domid=peer_domid, port=peer_port)

    def hand_pages(self, peer_domid: int, refs: Sequence[int]) -> Handed:
        for ref in refs:
            require_u32(peer_domid, "page", ref)
        return self._call(MAP, domid=peer_domid, refs=list(refs))

    def hand_channel(self, peer_domid: int, peer_port: int) -> Handed:
        require_u32(peer_domid, "event channel", peer_port)
        return self._call(BIND, domid=peer_domid, port=peer_port)

    def hand_lasting_channel(self, peer_domid: int, peer_port: int) -> Handed:
        require_u32(peer_domid, "event channel", peer_port)
        return self._call(BIND_LASTING, domid=peer_domid, port=peer_port)

    def end_channel(self, port: int) -> None:
        with suppress(TransportLost, OSError):  # it ends with the opener
            self._call(END, port=port)

    def share_pages(self, peer_domid: int, count: int) -> Pages:
        raise LocalProtocolError(f"dom{peer_domid} gets no {count} pages from an agent")

    def allocate_channel(self, peer_domid: int) -> EventChannel:
        raise LocalProtocolError(f"dom{peer_domid} gets no event channel from an agent")

    def adopt_channel(self, handed: Handed) -> None:
        raise LocalProtocolError(f"an agent adopts no channel {handed.layout}")

    def close(self) -> None:
        self._control.close()

    def _call(self, op: str, **arguments: object) -> Handed:
        """Return the reply with its descriptors, which the caller closes. TransportLost: the opener
        has ended, or has lost the hypervisor or XenStore."""
        try:
            self._control.send(json.dumps({"op": op, **arguments}).encode())
            octets, fds, flags, _ = socket.recv_fds(
                self._control, REPLY_OCTETS_MAX, FDS_IN_A_REPLY_MAX
            )
        except OSError as error:
            self._control.close()  # a late reply would be taken for that of the next request
            raise TransportLost(f"the opener: {error.strerror or error}") from error
        if not octets:
            raise TransportLost("the opener has ended")
        reply = Handed(fds, json.loads(octets))
        if flags & socket.MSG_CTRUNC:
            reply.close()
            if op == BIND:
                self.end_channel(int(reply.layout["port"]))
            raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: {op}")
        if "refused" in reply.layout:
            kind, text = REFUSALS[reply.layout["refused"]], reply.layout["text"]
            raise OSError(reply.layout["errno"], text) if kind is OSError else kind(text)
        return reply
