"""The C of adversary.c as threads of this process, beside a frontend of raw_frontend.py."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.raw_frontend import RawStream
from xensnd.sndif.packets import Request, encode_request
from xensnd.transport.interface import EventFds


def build_library(directory: Path) -> Path:
    built = directory / "adversary.so"
    source = Path(__file__).with_name("adversary.c")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", str(built), str(source)], check=True)
    return built


class _Channel(ctypes.Structure):
    _fields_ = (
        ("notify_fd", ctypes.c_int),
        ("context", ctypes.c_void_p),
        ("notify", ctypes.c_void_p),
    )


class _Adversary(ctypes.Structure):
    _fields_ = (
        ("ring", ctypes.c_void_p),
        ("channel", _Channel),
        ("packets", ctypes.c_char_p),
        ("packet_count", ctypes.c_uint32),
        ("notifies", ctypes.c_bool),
        ("ends", ctypes.c_uint32),
    )


class _Watch(ctypes.Structure):
    _fields_ = (
        ("event_page", ctypes.c_void_p),
        ("buffer", ctypes.c_void_p),
        ("words", ctypes.c_uint32),
        ("ends", ctypes.c_uint32),
        ("live", ctypes.c_uint64),
        ("last_live_nsec", ctypes.c_int64),
    )


class _Thread:
    """Runs a function of the library on a struct, until its block ends. `count` is the function's
    result then."""

    def __init__(self, library: Path, name: str, struct: Any) -> None:
        self._function = getattr(ctypes.CDLL(str(library)), name)
        self._function.restype = ctypes.c_uint64
        self._struct = struct
        self._thread = threading.Thread(target=self._run, name=name)
        self.count = 0

    def _run(self) -> None:
        self.count = self._function(ctypes.byref(self._struct))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._struct.ends = 1
        self._thread.join()


class Busy(_Thread):
    """A vCPU that is busy with the rings of one page. `loop` is a function of adversary.c, which
    may send these packets, again and again."""

    def __init__(
        self,
        library: Path,
        loop: str,
        page_address: int,
        fds: EventFds,
        packets: Sequence[bytes] = (),
        *,
        notifies: bool = True,
    ) -> None:
        channel = _Channel(fds.notify_fd, fds.context or None, fds.notify or None)
        struct = _Adversary(page_address, channel, b"".join(packets), len(packets), notifies)
        super().__init__(library, loop, struct)


def busy_with_ring(
    library: Path, loop: str, stream: RawStream, requests: Sequence[Request], *, notifies: bool
) -> Busy:
    """Return a vCPU that is busy with the ring of this stream, into which it may put `requests`."""
    packets = [encode_request(number, each) for number, each in enumerate(requests)]
    page, fds = stream.ring_page.address, stream.requests.fds
    return Busy(library, loop, page, fds, packets, notifies=notifies)


class Watch(_Thread):
    """Looks each millisecond whether something other than silence was recorded into the stream's
    buffer, and takes it out."""

    def __init__(self, library: Path, stream: RawStream) -> None:
        buffer = stream.buffer
        struct = _Watch(stream.event_page.address, buffer.address, buffer.octets // 8)
        super().__init__(library, "look_without_end", struct)
        self._look = ctypes.CDLL(str(library)).look

    def look(self) -> int:
        """Look now. Returns how many octets were found up to now, in words of eight."""
        self._look(ctypes.byref(self._struct))
        return int(self._struct.live)

    @property
    def last_live_ns(self) -> int:
        """When the last of them was found, by time.monotonic_ns(). 0: never."""
        return int(self._struct.last_live_nsec)
