"""The core moves samples, in C and without the interpreter. The classes here are handles on it.

In src/, ring.c, event_page.c, page_directory.c, pcm.c and budget.c are pure bookkeeping. engine.c
is the thread, pulse_context.c and pulse_stream.c call libpulse, and backend.c and frontend.c join
them: one sndif stream each, in either role. No module calls one above it; backend_parts.h says what
one event does. confine.c stands alone.
"""

from __future__ import annotations

from .audio_client import Admission, AudioClient, AudioStreamConfig, ClientState
from .backend import PCM_STATE_OCTETS, REFUSED_MAX, BackendStats, BackendStream, Violation
from .budget import Budget, BudgetStats
from .confine import filter_system_calls
from .engine import Engine
from .frontend import FrontendStats, FrontendStream
from .page_directory import build_directory, walk_directory
from .pcm import PcmParameters

__all__ = [
    "PCM_STATE_OCTETS",
    "REFUSED_MAX",
    "Admission",
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
    "PcmParameters",
    "Violation",
    "build_directory",
    "filter_system_calls",
    "walk_directory",
]
