"""To whom policy belongs: to root, or to the agent where it runs as a user of its own.

The agent writes down what people answer for good, and uses grants up; root edits the same files.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

AGENT_USER = "xensnd"


def is_trusted(uid: int) -> bool:
    """Whoever may write policy decides who records: root, ourselves, and the agent, which does so
    whatever policy says."""
    return uid in (0, os.geteuid()) or uid == _agent_uid()


def give_to_owner_of(directory: Path, fd: int) -> None:
    """What root makes in the agent's directory is the agent's: it must lock it and replace it.

    By descriptor, since the agent might put something else in its place meanwhile.
    """
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _agent_uid() -> int | None:
    try:
        return pwd.getpwnam(AGENT_USER).pw_uid
    except KeyError:
        return None
