"""Where the lab keeps what takes long to make, and how it makes things."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    if chosen := os.environ.get("XENSND_LAB"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xensnd-lab"


class Cache:
    """Directories by name and a hash of their recipe. `say` hears of each that must be made."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._used: set[str] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def get(self, name: str, recipe: Sequence[str], build: Callable[[Path], None]) -> Path:
        """A directory that `build` has filled, now or once."""
        digest = hashlib.sha256(b"\0".join(line.encode() for line in recipe))
        path = self._directory / f"{name}-{digest.hexdigest()[:12]}"
        self._used.add(path.name)
        if not path.exists():
            self._say(f"building {path.name}")
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self._directory))
            try:
                build(fresh)
                fresh.chmod(0o755)
                fresh.rename(path)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return path

    def drop_others(self) -> None:
        for path in self._directory.iterdir():
            if path.is_dir() and path.name not in self._used:
                shutil.rmtree(path)


def run(*command: str | Path) -> None:
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        shown = " ".join(map(str, command))[:200]
        raise RuntimeError(f"{shown}: status {result.returncode}\n{result.stdout[-4000:]}")


def output(*command: str | Path) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def pack(root: Path, to: Path) -> None:
    """As a ramdisk. Not compressed: emulated machines unpack slowly."""
    names = subprocess.run(["find", "."], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    with to.open("wb") as file:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0"],
            cwd=root,
            input=names,
            stdout=file,
            check=True,
        )
