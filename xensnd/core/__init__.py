"""The core moves samples, in C and without the interpreter. The classes here are handles on it.

In src/, ring.c, event_page.c, page_directory.c, pcm.c, vchan_ring.c, rate_loop.c, budget.c, gate.c,
sample_queue.c and recorded_source.c only compute. engine.c is the thread. audio_server.c calls the
audio server, by the verbs that pulse_*.c implement with libpulse and pipewire_*.c with libpipewire.
backend.c and frontend.c use all of them, for one sndif stream each, in either role; vchan_stream.c
is the backend's counterpart for vchan. No module calls one above it. backend_parts.h,
frontend_parts.h and vchan_parts.h list what their files share. confine.c stands alone.
"""

from __future__ import annotations

from .audio_client import Admission, AudioClient, AudioStreamConfig, ClientState
from .backend import PCM_STATE_OCTETS, REFUSED_MAX, BackendStream, Violation
from .budget import (
    CONTROL_REQUESTS_A_SECOND,
    OPEN_COUNTS_AS,
    USUAL_PERCENT,
    Budget,
    BudgetStats,
)
from .confine import filter_system_calls
from .device import GraphDevice
from .engine import Engine
from .frontend import FrontendStats, FrontendStream
from .gate import GATE_OCTETS, Gate
from .page_directory import build_directory, walk_directory
from .pcm import PcmParameters
from .pipewire import PIPEWIRE, pipewire_problem, pipewire_socket
from .sound import BackendStats, SoundCore
from .vchan import VCHAN_GIVEN_OCTETS, RingMemory, VchanCore

__all__ = [
    "CONTROL_REQUESTS_A_SECOND",
    "GATE_OCTETS",
    "OPEN_COUNTS_AS",
    "PCM_STATE_OCTETS",
    "PIPEWIRE",
    "REFUSED_MAX",
    "USUAL_PERCENT",
    "VCHAN_GIVEN_OCTETS",
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
    "Gate",
    "GraphDevice",
    "PcmParameters",
    "RingMemory",
    "SoundCore",
    "VchanCore",
    "Violation",
    "build_directory",
    "filter_system_calls",
    "pipewire_problem",
    "pipewire_socket",
    "walk_directory",
]
