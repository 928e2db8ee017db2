"""What an agent and its opener say to each other, over a pair of sockets (SOCK_SEQPACKET).

A request is a JSON object with `op` and its arguments. The reply is a JSON object with the
descriptors that go with it, or {"refused": kind, "text": a message for people, "errno": a number}.
"""

from __future__ import annotations

from xensnd.errors import RemoteProtocolError, TransportLost, UsageError

HELLO = "hello"  # {"domid": our own, "runtime": the runtime directory}
CARD = "card"  # `domid` and `devid`: {"nodes": what XenStore held of it a moment ago; or null}
STORE = "store"  # a connection to XenStore: one descriptor, and {"payload_octets_max": ...}
MAP = "map"  # `domid` and `refs`: what a Receiver needs to map the pages
BIND = "bind"  # `domid` and `port`: the same, for an event channel
END = "end"  # `port`, that of a bound channel: {}
BIND_LASTING = "bind-lasting"  # as BIND: a channel that outlives the agent
END_LASTING = "end-lasting"  # `domid` and `port`, those of BIND_LASTING: {}

REQUEST_OCTETS_MAX = 4096
REPLY_OCTETS_MAX = 1 << 16
FDS_IN_A_REPLY_MAX = 253  # SCM_MAX_FD
REPLY_SECONDS_MAX = 12.0  # the opener itself waits for XenStore for 10 s at most

REFUSALS: dict[str, type[Exception]] = {
    "lost": TransportLost,
    "peer": RemoteProtocolError,
    "usage": UsageError,
    "failed": OSError,
}
