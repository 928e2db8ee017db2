"""What the local transport and the stand-in for Xen (xensnd.localxen) have agreed on.

Packets on a unix socket (SOCK_SEQPACKET), each a JSON object. A request has `op`, the name of a
method of the stand-in's hypervisor, and that method's arguments. A reply is the method's result,
with its file descriptors beside it, or {"refused": kind, "text": for humans}. The first request is
`hello`.
"""

from __future__ import annotations

VERSION = 1
REQUEST_OCTETS_MAX = 16384
REFS_IN_A_REQUEST_MAX = 128  # so that even one memfd a page fits into one packet (SCM_MAX_FD 253)
