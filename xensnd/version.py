"""Which version this is. Everything else that says so takes it from here."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
