"""Which users may own policy files: root, ourselves, and the agent's own user.

The agent writes permanent answers and removes used grants; root edits the same files.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

AGENT_USER = "xensnd"


def is_trusted(uid: int) -> bool:
    """Return whether this user may own policy files. Whoever can write them decides who records.

    The agent opens the microphone itself, so trusting it here gives it nothing new.
    """
    return uid in (0, os.geteuid()) or uid == _agent_uid()


def give_to_owner_of(directory: Path, fd: int) -> None:
    """Give the open file to the directory's owner, if we are root.

    The agent must be able to lock and replace what root creates in its directory. The file is
    named by descriptor, so the agent cannot put another file in its place meanwhile.
    """
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _agent_uid() -> int | None:
    try:
        return pwd.getpwnam(AGENT_USER).pw_uid
    except KeyError:
        return None
