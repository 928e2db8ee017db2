"""xensnd-policy on a policy directory of its own, whichever way it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HEAD = "version: 1\nrules:\n"
COMMANDS = [
    f"{verb}-{direction}"
    for direction in ("capture", "playback")
    for verb in ("ask", "allow", "deny")
]


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class PolicyTool:
    """A call runs the command on the directory."""

    directory: Path

    def __call__(self, *arguments: str) -> Run:
        raise NotImplementedError

    def granting(self, *arguments: str) -> Run:
        """With a directory of temporary grants, which is not there at first."""
        return self("--runtime", str(self.runtime), *arguments)

    @property
    def runtime(self) -> Path:
        return self.directory.parent / "run" / "policy.d"

    @property
    def grants_file(self) -> Path:
        return self.runtime / "00-grants.yaml"

    @property
    def user_file(self) -> Path:
        return self.directory / "30-user.yaml"

    def put(self, text: str, name: str = "30-user.yaml") -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path
