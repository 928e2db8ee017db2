"""The gates of a guest's recordings, in a page that the agent shares with the guest's engine."""

from __future__ import annotations

import errno
import mmap
import os

from agent_dom0.engines import replies
from agent_dom0.engines.calls import EngineCalls
from xensnd.core import GATE_OCTETS, Gate
from xensnd.sndif.layout import PAGE_OCTETS


class SharedGate(Gate):
    """`remote_address` is that in the engine's process. It may be taken again after free()."""

    def __init__(self, memory: mmap.mmap, slot: int, remote: int, free: list[int]) -> None:
        super().__init__(memory, slot * GATE_OCTETS)
        self.remote_address = remote + slot * GATE_OCTETS
        self._slot = slot
        self._free = free

    def free(self) -> None:
        self._free.append(self._slot)


class Gates:
    def __init__(self, connection: EngineCalls) -> None:
        fd = os.memfd_create("xensnd-gates", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, PAGE_OCTETS)
            self._memory = mmap.mmap(fd, PAGE_OCTETS)
            self._remote = connection.call(replies.integer, "share", [fd])
        finally:
            os.close(fd)
        self._free = list(range(PAGE_OCTETS // GATE_OCTETS))

    def take(self) -> SharedGate:
        if not self._free:
            raise OSError(errno.ENOSPC, "no gate is left")
        return SharedGate(self._memory, self._free.pop(0), self._remote, self._free)
