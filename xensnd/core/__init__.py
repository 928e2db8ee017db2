"""Samples move here, in C and without the interpreter; the classes are Python's handles on it.

ring.c, event_page.c, page_directory.c and pcm.c are pure bookkeeping over shared memory. engine.c
is the thread, pulse_context.c and pulse_stream.c are libpulse, backend.c and frontend.c join them:
one sndif stream each, in either role.
"""

from __future__ import annotations

from .audio import Admission, AudioClient, AudioStreamConfig, ClientState
from .backend import PCM_STATE_OCTETS, BackendStats, BackendStream, Violation
from .directory import build_directory, walk_directory
from .engine import Engine
from .frontend import FrontendStats, FrontendStream
from .pcm import PcmConfig

__all__ = [
    "PCM_STATE_OCTETS",
    "Admission",
    "AudioClient",
    "AudioStreamConfig",
    "BackendStats",
    "BackendStream",
    "ClientState",
    "Engine",
    "FrontendStats",
    "FrontendStream",
    "PcmConfig",
    "Violation",
    "build_directory",
    "walk_directory",
]
