"""What an agent and its opener say to each other, over a pair of sockets (SOCK_SEQPACKET).

A request is the name of what the agent wants. The reply is a JSON object with the descriptors that
go with it, or {"refused": kind, "text": a message for people, "errno": a number or null}.
"""

from __future__ import annotations

from xensnd.errors import RemoteProtocolError, TransportLost, UsageError

STORE = "store"  # a connection to XenStore: one descriptor, and {"payload_octets_max": ...}

REQUEST_OCTETS_MAX = 64
REPLY_OCTETS_MAX = 4096
REPLY_SECONDS_MAX = 10.0

REFUSALS: dict[str, type[Exception]] = {
    "lost": TransportLost,
    "peer": RemoteProtocolError,
    "usage": UsageError,
    "failed": OSError,
}
