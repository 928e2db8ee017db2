"""What the supervisor sends its opener, each time with a socket."""

from __future__ import annotations

AGENT = b"\0"  # that of an agent, to be served
TAKES_OVER = b"\1"  # that of the opener which takes over from this one
