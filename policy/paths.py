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

QUBES = Path("/run/qubes")  # is there on Qubes OS
QUBES_IDENTITIES = Path("/run/xensnd-qubes/guests.yaml")  # which xensnd-qubes writes there


@dataclass(frozen=True, slots=True)
class PolicyPaths:
    """The policy directories, and the runtime directory, which holds temporary grants."""

    directories: Sequence[Path]
    runtime: Path | None = None  # None: there are no temporary grants
    platform: Path | None = None  # what the platform knows of its guests; None: it has no such file

    @classmethod
    def of_options(
        cls, directories: Sequence[Path], runtime: Path | None, identities: str | None = None
    ) -> PolicyPaths:
        """The paths for --policy, --runtime and --identities. The grants and the guests of this
        machine belong to its own policy, so named directories have neither unless one is named
        too."""
        platform = None if identities in (None, "none") else Path(identities)
        if directories:
            return cls(directories, runtime, platform)
        if identities is None and QUBES.is_dir():
            platform = QUBES_IDENTITIES
        return cls([DEFAULT_DIRECTORY], runtime or DEFAULT_RUNTIME, platform)

    @property
    def tags_file(self) -> Path:
        return self.directories[0].absolute().parent / TAGS_FILE

    @property
    def all_directories(self) -> tuple[Path, ...]:
        return (*self.directories, *(() if self.runtime is None else (self.runtime,)))

    @property
    def watched_directories(self) -> tuple[Path, ...]:
        """All directories whose files have a say."""
        return (*self.all_directories, *(() if self.platform is None else (self.platform.parent,)))
