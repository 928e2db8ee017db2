"""Which version this is: pyproject.toml says so, through the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]

try:
    VERSION = version("xensnd")
except PackageNotFoundError:
    VERSION = "(not installed)"
