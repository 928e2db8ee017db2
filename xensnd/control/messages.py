"""Messages between the running agent and its clients, version 1: docs/control.md.

A client sends `{"version": 1, "do": "status"}` with the arguments of the operation, one JSON object
a line. It gets one line for each: `{"ok": true, ...}` or `{"ok": false, "error": "..."}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["DOMID_MAX", "LINE_OCTETS_MAX", "VERSION", "decode", "encode", "encode_request"]

VERSION = 1
DOMID_MAX = 0x7FEF  # of a guest that is registered; Xen reserves the numbers above
LINE_OCTETS_MAX = 1 << 20  # of an answer; requests are far shorter


def encode(message: Mapping[str, Any]) -> bytes:
    """Return the message as a line."""
    return json.dumps(message).encode() + b"\n"


def encode_request(operation: str, arguments: Mapping[str, object]) -> bytes:
    """Return the line that asks for an operation."""
    return encode({"version": VERSION, "do": operation, **arguments})


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of a line. ValueError: it is no JSON object."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ValueError("its line is no JSON object")
    return message
