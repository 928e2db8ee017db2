"""Our programs where every user can read them: the checkout may lie in a home of mode 0700."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("xensnd", "agent_dom0", "agent_guest", "agent_session", "policy")
# What they import, wherever this interpreter has it.
THEIRS = ("yaml", "_yaml", "cffi", "_cffi_backend", "pulsectl", "pyxs", "systemd")


@functools.cache
def _copy() -> tempfile.TemporaryDirectory[str]:
    """Made once in a test session, and removed when the interpreter ends."""
    directory = tempfile.TemporaryDirectory(prefix="xensnd-public-")
    to = Path(directory.name)
    to.chmod(0o755)
    for name in OURS:
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in THEIRS:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, to / name)
        else:
            shutil.copy(origin, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def public_python(*arguments: str) -> list[str]:
    """A command of Python that any user can run from any directory, and that finds our modules."""
    return ["env", f"PYTHONPATH={_copy().name}", "/usr/bin/python3", "-P", "-B", *arguments]
