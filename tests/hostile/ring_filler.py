"""The C of ring_filler.c as a thread of this process, beside a frontend whose ring it fills."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.raw_frontend import RawStream
from xensnd.sndif.packets import Operation

FRAME_OCTETS = 4


class _Filling(ctypes.Structure):
    _fields_ = (
        ("ring", ctypes.c_void_p),
        ("notify_fd", ctypes.c_int),
        ("rings", ctypes.c_bool),
        ("operation", ctypes.c_uint8),
        ("first_offset", ctypes.c_uint32),
        ("end_offset", ctypes.c_uint32),
        ("frame_octets", ctypes.c_uint32),
        ("ends", ctypes.c_uint32),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="ring-filler-") as directory:
        built = Path(directory) / "ring_filler.so"
        source = Path(__file__).with_suffix(".c")
        flags = ["-D_GNU_SOURCE", "-Wall", "-Werror", "-O2", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, "-o", str(built), str(source)], check=True)
        library = ctypes.CDLL(str(built))
    library.fill.restype = ctypes.c_uint64
    return library


class RingFiller:
    """Sends requests on the stream's ring until the block ends. `offsets`: where in the buffer."""

    def __init__(
        self, stream: RawStream, operation: Operation, offsets: range, *, rings: bool
    ) -> None:
        self.sent = 0
        self._filling = _Filling(
            ring=stream.ring_page.address,
            notify_fd=stream.requests.fds.notify_fd,
            rings=rings,
            operation=operation,
            first_offset=offsets.start,
            end_offset=offsets.stop,
            frame_octets=FRAME_OCTETS,
        )
        self._thread = threading.Thread(target=self._fill)

    def _fill(self) -> None:
        self.sent = _library().fill(ctypes.byref(self._filling))

    def __enter__(self) -> Self:
        _library()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._filling.ends = 1
        self._thread.join()
