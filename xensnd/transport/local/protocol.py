"""The protocol between the local transport and the stand-in for Xen (xensnd.localxen).

Each packet on the unix socket (SOCK_SEQPACKET) is a JSON object. A request has `op`, the name of a
method of the stand-in's hypervisor, and the arguments of that method. A reply is the method's
result, together with its file descriptors, or {"refused": kind, "text": a message for people}. The
first request is `hello`.
"""

from __future__ import annotations

VERSION = 1
REQUEST_OCTETS_MAX = 16384
REFS_IN_A_REQUEST_MAX = 128  # so that even one memfd a page fits into one packet (SCM_MAX_FD 253)
