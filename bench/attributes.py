"""What streams have asked of the audio server, as its log says: the bench compares equal ones."""

from __future__ import annotations

import os
import re

# Of PulseAudio: at the level "info" its log says of each new stream what it has asked for.
_LEVEL = {"PULSE_LOG": "3"}
_PLAYING = re.compile(r"Requested (tlength=[\d.]+ ms, minreq=[\d.]+ ms)")
_RECORDING = re.compile(r"Final latency [\d.]+ ms = ([\d.]+ ms) \+ [\d.]+ ms$", re.MULTILINE)


def have_them_logged() -> None:
    """By all audio servers that are started from now on."""
    os.environ.update(_LEVEL)


def asked(log: str, *, records: bool) -> str:
    """What playing or recording streams have asked for, each different answer once."""
    found = _RECORDING.findall(log) if records else _PLAYING.findall(log)
    kind = "fragsize=" if records else ""
    return "; ".join(kind + each for each in sorted(set(found)))
