"""Where acts are performed: a machine with an adversary, and an agent that is looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hostile.acts import ACTS
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.peer import Peer

MAY_RECORD = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
MAY_NOT_RECORD = MAY_RECORD.replace("rules:\n", "rules:\n  - guest: evil\n    capture: deny\n")
LIVE_SECONDS = 5.0


@contextmanager
def performing(machine: LocalMachine, guest: Guest, act: str, library: Path) -> Iterator[Peer]:
    """The guest, which is named "evil", performs the act until the block ends. performer.py says
    what else it can be told. If it could not do what it was to do, that is raised."""
    module = "vchan_adversary" if ACTS[act].over_vchan else "adversary"
    module, directory = f"tests.hostile.{module}", str(machine.directory)
    with Peer(directory, guest.name, str(library), module=module) as adversary:
        adversary.do("begin", act)
        yield adversary
        adversary.do("end")


def revoke(dom0: Dom0, adversary: Peer) -> float:
    """Deny it the microphone, that is live. Returns for how many ms after that something was in
    the guest's buffer; below zero: it was silent before the policy's file was in its place."""
    dom0.write_policy(MAY_RECORD)
    assert adversary.do("hears", LIVE_SECONDS), f"it records nothing\n{dom0.end_of_log}"
    with dom0.one_more("decision", guest="evil", direction="capture", decision="deny"):
        dom0.write_policy(MAY_NOT_RECORD)
        since_ns = time.monotonic_ns()
    return float(adversary.do("last_live_ns") - since_ns) / 1e6


class Memory:
    """What a process has of its own, in KiB, at each look."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._seen: list[int] = []

    def look(self) -> None:
        lines = self._status.read_text().splitlines()
        (own,) = (line for line in lines if line.startswith("RssAnon:"))
        self._seen.append(int(own.split()[1]))

    @property
    def growth_kib(self) -> int:
        """How much more it had at most in the second half of all looks than in the first."""
        middle = len(self._seen) // 2
        return max(self._seen[middle:]) - max(self._seen[:middle])
