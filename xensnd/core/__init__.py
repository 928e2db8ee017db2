"""Samples move here, in C and without the interpreter; the classes are Python's handles on it.

ring.c, event_page.c, page_directory.c, pcm.c and budget.c are pure bookkeeping. engine.c is the
thread, pulse_context.c and pulse_stream.c are libpulse, backend.c and frontend.c join them: one
sndif stream each, in either role. Calls go down only: backend_parts.h says what one event does.
"""

from __future__ import annotations

from .audio import AudioClient, AudioStreamConfig, ClientState
from .backend import PCM_STATE_OCTETS, REFUSED_MAX, BackendStats, BackendStream, Violation
from .budget import Budget, BudgetStats
from .directory import build_directory, walk_directory
from .engine import Engine
from .frontend import FrontendStats, FrontendStream
from .pcm import PcmConfig

__all__ = [
    "PCM_STATE_OCTETS",
    "REFUSED_MAX",
    "AudioClient",
    "AudioStreamConfig",
    "BackendStats",
    "BackendStream",
    "Budget",
    "BudgetStats",
    "ClientState",
    "Engine",
    "FrontendStats",
    "FrontendStream",
    "PcmConfig",
    "Violation",
    "build_directory",
    "walk_directory",
]
