"""Which guest was being served when an agent died, and which is served no more for that.

One small file a guest in the runtime directory, which is memory. Two words of it are 1 while the
guest is being served: by Python, and by the core's thread. They are written before anything of the
guest is touched. So whatever ends an agent, the next one finds there whom it was serving. A guest
that was served at two deaths is left alone for a time, which doubles with each further one.

Only the agent writes the file; still it is checked before it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from xensnd.errors import XensndError

log = logging.getLogger("xensnd-dom0")

# Once may be bad luck: something else may have ended the agent just then.
DEATHS_TOLERATED = 1
FIRST_SECONDS = 60.0
LONGEST_SECONDS = 24 * 3600.0
# After so long without another one, the deaths are forgotten. From the end of a quarantine.
FORGOTTEN_SECONDS = 3600.0

# Words of 32 bits.
_SERVED_BY_PYTHON, _SERVED_BY_CORE = 0, 1
_RECORD_AT = 8
_RECORD = struct.Struct("<8sxxxxId")
_MAGIC = b"xensndq1"
_CRC = struct.Struct("<I")
_OCTETS = _RECORD_AT + _RECORD.size + _CRC.size
_DEATHS_MAX = 1000


class Quarantine:
    """Of one guest. `path` is named after its uuid, so that to start it anew changes nothing.

    `died_with_agent` says whether the agent before us died while it served the guest: that is
    counted when this is made. `clock` returns seconds; it must go on over a restart of the agent.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._memory = _map(path)
        self._anchor: ctypes.c_uint32 | None = ctypes.c_uint32.from_buffer(
            self._memory, 4 * _SERVED_BY_CORE
        )
        self._by_python = ctypes.c_uint32.from_buffer(self._memory, 4 * _SERVED_BY_PYTHON)
        self.deaths, self._ends = self._load()
        self.died_with_agent = bool(self._by_python.value or self._anchor.value)
        if self.died_with_agent:
            self._note_death()
        self._by_python.value = self._anchor.value = 0
        self.is_on = self._is_judged and clock() < self._ends

    @property
    def core_address(self) -> int:
        """Where the core says that it serves the guest."""
        return ctypes.addressof(self._anchor) if self._anchor is not None else 0

    @property
    def seconds_left(self) -> float:
        return max(self._ends - self._clock(), 0.0) if self.is_on else 0.0

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """What is done in the block is done for the guest. An exception that nobody expected may
        be the agent's end, so then the word stays."""
        self._by_python.value = 1
        try:
            yield
        except XensndError:
            self._by_python.value = 0
            raise
        self._by_python.value = 0

    def end(self) -> None:
        """Its time is over. Another death makes the next one longer."""
        self.is_on = False

    def lift(self) -> None:
        """End the quarantine for a person, and forget the deaths."""
        self.is_on = False
        self._save(0, 0.0)

    def close(self, *, forget: bool = False) -> None:
        """The core no longer uses it. `forget`: the guest is gone. What was counted stays, since it
        may come back."""
        self._anchor = None
        del self._by_python
        self._memory.close()
        if forget and self.deaths == 0:
            with contextlib.suppress(OSError):  # it may never have been
                self._path.unlink()

    @property
    def _is_judged(self) -> bool:
        return self.deaths > DEATHS_TOLERATED

    def count_death(self) -> None:
        """Its engine, a process of its own, has ended."""
        self._note_death()
        self.is_on = self._is_judged and self._clock() < self._ends

    def _note_death(self) -> None:
        now = self._clock()
        deaths = 0 if now - self._ends > FORGOTTEN_SECONDS else self.deaths
        doublings = deaths - DEATHS_TOLERATED
        seconds = 0.0 if doublings < 0 else min(FIRST_SECONDS * 2**doublings, LONGEST_SECONDS)
        self._save(min(deaths + 1, _DEATHS_MAX), now + seconds)

    def _save(self, deaths: int, ends: float) -> None:
        self.deaths, self._ends = deaths, ends
        packed = _RECORD.pack(_MAGIC, deaths, ends)
        record = packed + _CRC.pack(zlib.crc32(packed))
        self._memory[_RECORD_AT : _RECORD_AT + len(record)] = record

    def _load(self) -> tuple[int, float]:
        """Return the deaths; none, if nothing valid is there."""
        packed = self._memory[_RECORD_AT : _RECORD_AT + _RECORD.size]
        (crc,) = _CRC.unpack_from(self._memory, _RECORD_AT + _RECORD.size)
        magic, deaths, ends = _RECORD.unpack(packed)
        if magic != _MAGIC or zlib.crc32(packed) != crc:
            return 0, 0.0
        # An end beyond the longest is of another machine's clock.
        return min(deaths, _DEATHS_MAX), min(ends, self._clock() + LONGEST_SECONDS)


def _map(path: Path) -> mmap.mmap:
    """The file's memory; or memory that ends with this agent, if there can be no file: for want of
    a descriptor, no other guest is to wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, _OCTETS)
            return mmap.mmap(descriptor, _OCTETS)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("%s: %s; the next agent will not know of this guest", path, error.strerror)
        return mmap.mmap(-1, _OCTETS)
