"""What an agent and the process of a guest's engine say to each other (SOCK_SEQPACKET).

A call is a JSON object with its number `n`, the verb `do`, and arguments; descriptors may go with
it. The reply has the same number, and `is`, the result; or `failed`, the kind of an exception, with
its `text` and `errno`. A reply comes from a process that meets a guest's octets: not trusted.
"""

from __future__ import annotations

from xensnd.errors import AudioUnavailable, RemoteProtocolError

MESSAGE_OCTETS_MAX = 1 << 16
FDS_MAX = 253  # SCM_MAX_FD

FAILURES: dict[str, type[Exception]] = {
    "audio": AudioUnavailable,
    "peer": RemoteProtocolError,
    "memory": MemoryError,
    "failed": OSError,
}
