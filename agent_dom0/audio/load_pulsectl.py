"""Imports pulsectl without the processes that it would start.

It asks ldconfig and a compiler where libpulse is, finds nothing, and takes libpulse.so.0. The
agent's sandbox has no place for either.
"""

from __future__ import annotations

import ctypes.util
from typing import Any


def _find_nothing(name: str) -> str | None:  # noqa: ARG001
    return None


def _load() -> Any:
    search = ctypes.util.find_library
    ctypes.util.find_library = _find_nothing
    try:
        import pulsectl  # noqa: PLC0415
    finally:
        ctypes.util.find_library = search
    return pulsectl


pulsectl = _load()
