"""Roots of Debian systems, of which tests change layers that are theirs alone.

A command runs in a mount and a process namespace of its own: nothing of it is left behind.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

# As an unprivileged user of the root: packages are not built by root.
USER = "1000:1000"
HOMES = {"0:0": "/root", USER: "/home/builder"}
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
_OVERLAY = """
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$LAYER/upper,workdir=$LAYER/work" "$1"
"""
_ENTER = """
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/dev/shm"
root=$1 user=$2
shift 2
exec env -u LOWER -u LAYER chroot --userspec="$user" "$root" "$@"
"""


def inside(
    root: Path,
    command: Sequence[str],
    *,
    user: str = "0:0",
    status: int | None = 0,
    environment: Mapping[str, str] = MappingProxyType({}),
    before: str = "",
) -> str:
    """Runs a command in a root, changing that. What it says, on either output. `status` is what it
    must end with; None: anything."""
    enter = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", before + _ENTER)
    done = subprocess.run(
        [*enter, "enter", str(root), user, *command],
        env={"HOME": HOMES[user], **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if status is not None and done.returncode != status:
        shown = f"{' '.join(command)[:200]}: status {done.returncode}"
        raise AssertionError(f"{shown}\n{done.stdout[-6000:]}")
    return done.stdout


class Root:
    """`lower`: directories, the uppermost first, that stay as they are."""

    def __init__(self, lower: Sequence[Path], directory: Path) -> None:
        self._lower = lower
        self._directory = directory
        for name in ("upper", "work", "root"):
            (directory / name).mkdir(parents=True)

    def fork(self, directory: Path) -> Root:
        """One more that goes on from here. This one is to be changed no more."""
        return Root([self._directory / "upper", *self._lower], directory)

    def put(self, files: Sequence[Path], to: str) -> list[str]:
        """Copies them into a directory of the root; as they are called there."""
        directory = self._directory / "upper" / to.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        for file in files:
            shutil.copy(file, directory)
        return [f"{to}/{file.name}" for file in files]

    def take(self, directory: str, to: Path) -> None:
        """Copies out what this layer has in a directory."""
        shutil.copytree(self._directory / "upper" / directory.lstrip("/"), to, dirs_exist_ok=True)

    def run(
        self, *command: str, user: str = "0:0", status: int | None = 0, **environment: str
    ) -> str:
        layers = {"LOWER": ":".join(map(str, self._lower)), "LAYER": str(self._directory)}
        return inside(
            self._directory / "root",
            command,
            user=user,
            status=status,
            environment={**environment, **layers},
            before=_OVERLAY,
        )

    def shell(self, script: str, *, user: str = "0:0", **environment: str) -> str:
        return self.run("sh", "-euc", script, user=user, status=0, **environment)
