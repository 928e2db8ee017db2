"""Where policy files are, for every program that reads or changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DIRECTORY = Path("/etc/xensnd/policy.d")
DEFAULT_RUNTIME = Path("/run/xensnd/policy.d")

GRANTS_FILE = "00-grants.yaml"  # in the runtime directory; only files 00-a to 00-f come before it
USER_FILE = "30-user.yaml"  # in a policy directory
TAGS_FILE = "tags.yaml"  # beside the first policy directory


@dataclass(frozen=True, slots=True)
class PolicyPaths:
    """The policy directories, and the runtime directory, which holds temporary grants."""

    directories: Sequence[Path]
    runtime: Path | None = None  # None: there are no temporary grants

    @classmethod
    def of_options(cls, directories: Sequence[Path], runtime: Path | None) -> PolicyPaths:
        """The paths for --policy and --runtime. The grants of this machine belong to its own
        policy, so named directories have no runtime directory unless one is named too."""
        if directories:
            return cls(directories, runtime)
        return cls([DEFAULT_DIRECTORY], runtime or DEFAULT_RUNTIME)

    @property
    def tags_file(self) -> Path:
        return self.directories[0].absolute().parent / TAGS_FILE

    @property
    def all_directories(self) -> tuple[Path, ...]:
        return (*self.directories, *(() if self.runtime is None else (self.runtime,)))
