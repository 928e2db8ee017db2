"""A real journald, which runs where nobody else sees it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from systemd import journal

from agent_dom0.events import EventKind
from tests.support.daemon import Daemon

JOURNALD = Path("/lib/systemd/systemd-journald")
CATALOG = Path(__file__).parents[2] / "packaging/systemd/xensnd.catalog"

# Directories of its own, in a mount namespace of its own, that lasts until its input ends.
NAMESPACE = """
set -e
mkdir -p /run/systemd /run/log
mkdir -p /usr/lib/systemd/catalog /var/lib/systemd/catalog
for directory in /run/systemd /run/log /var/log/journal \\
    /usr/lib/systemd/catalog /var/lib/systemd/catalog; do
    [ ! -d $directory ] || mount -t tmpfs tmpfs $directory
done
mkdir -p /run/systemd/journal
echo ready
exec cat
"""

needs_journald = pytest.mark.skipif(
    not JOURNALD.exists()
    or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="needs systemd-journald, and root's right to a mount namespace",
)


class Journald(Daemon):
    """`enter` runs a command where this journald is the machine's. It is not started with its
    block, but by `start()`."""

    def __init__(self) -> None:
        super().__init__("systemd-journald")

    def __enter__(self) -> Self:
        self._namespace = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", NAMESPACE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._namespace.stdout is not None
        assert self._namespace.stdout.readline() == b"ready\n"
        self._root = Path(f"/proc/{self._namespace.pid}/root")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._namespace.communicate()

    @property
    def enter(self) -> Sequence[str]:
        return ["nsenter", f"--target={self._namespace.pid}", "--mount"]

    def start(self) -> None:
        self.launch_until_notified([*self.enter, str(JOURNALD)])

    def install_catalog(self) -> None:
        """As a package does: no other is there."""
        install = ["install", "-m644", str(CATALOG), "/usr/lib/systemd/catalog/"]
        for command in (install, ["journalctl", "--update-catalog"]):
            subprocess.run([*self.enter, *command], check=True, capture_output=True)

    def journalctl(self, *arguments: str) -> str:
        ended = subprocess.run(
            [*self.enter, "journalctl", "--no-pager", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout

    def records(self, kind: EventKind, **fields: object) -> list[dict[str, Any]]:
        """As `journalctl MESSAGE_ID=... XENSND_...` finds them."""
        found = []
        for directory in self._root.glob("run/log/journal/*"):
            with journal.Reader(path=str(directory)) as reader:
                reader.add_match(MESSAGE_ID=kind.value)
                for name, value in fields.items():
                    reader.add_match(f"XENSND_{name.upper()}={value}")
                found += list(reader)
        return found
