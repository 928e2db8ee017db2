"""Debian's real xenstored without Xen, and a guest's ring to it."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from tests.support.daemon import Daemon

SHIM_SOURCE = Path(__file__).with_name("xenstored_without_xen.c")
WAIT_SECONDS = 10
FIRST_DOMAIN_PORT = 16  # as in the shim
RING_OCTETS = 1024


@functools.cache
def xenstored() -> Path:
    """That of the newest Xen here. The command of that name only starts the running Xen's."""
    installed = sorted(Path("/usr/lib").glob("xen-*/bin/xenstored"))
    if not installed:
        raise RuntimeError("the contract tests need xen-utils: run make env")
    return installed[-1]


def is_that_of_the_standin() -> bool:
    """The stand-in answers as Xen 4.17's. Later ones differ in quotas and in some errors."""
    return "xen-4.17" in xenstored().parts


@functools.cache
def shim() -> Path:
    """What xenstored_without_xen.c compiles to, once in a test session."""
    if not shutil.which("gcc"):
        raise RuntimeError("the contract tests need gcc: run make env")
    directory = tempfile.TemporaryDirectory(prefix="xensnd-shim-")
    _directories.enter_context(directory)
    result = Path(directory.name) / "shim.so"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", result, SHIM_SOURCE],
        check=True,
    )
    return result


_directories = contextlib.ExitStack()  # removed when the interpreter ends


class RealXenstored(Daemon):
    """xenstored on `directory`/run/socket; a domain N exists while `directory`/domN does."""

    def __init__(self, directory: Path) -> None:
        super().__init__("xenstored")
        self.directory = directory
        self.socket = directory / "run" / "socket"

    def start(self) -> None:
        for name in ("run", "dom0"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "xsd_port").write_text("1")
        (self.directory / "xsd_kva").write_bytes(bytes(mmap.PAGESIZE))
        environment = os.environ | {
            "LD_PRELOAD": str(shim()),
            "XENSTORED_WITHOUT_XEN": str(self.directory),
            "XENSTORED_RUNDIR": str(self.socket.parent),
        }
        with _bound(self.directory / "dom0" / "evtchn") as started:
            self.launch([str(xenstored()), "--no-fork"], environment=environment)
            started.recv(4)  # it notifies domain 0, once its socket is there


class GuestRing:
    """A connection to the real xenstored as domain `domid`, with that domain's rights.

    Open it once the domain was introduced.
    """

    def __init__(self, xenstored: RealXenstored, domid: int) -> None:
        directory = xenstored.directory / f"dom{domid}"
        self._port = struct.pack("=I", FIRST_DOMAIN_PORT + domid)
        self._xenstored = str(xenstored.directory / "evtchn")
        self._notified = _bound(directory / "evtchn")
        with open(directory / "ring", "r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        whole = memoryview(self._page)
        self._requests, self._replies = whole[:RING_OCTETS], whole[RING_OCTETS : 2 * RING_OCTETS]
        # req_cons, req_prod, rsp_cons, rsp_prod
        self._indices = whole[2 * RING_OCTETS : 2 * RING_OCTETS + 16].cast("I")

    def send(self, octets: bytes) -> None:
        for octet in octets:
            while (self._indices[1] - self._indices[0]) & 0xFFFF_FFFF == RING_OCTETS:
                self._exchange()
            self._requests[self._indices[1] % RING_OCTETS] = octet
            self._indices[1] = (self._indices[1] + 1) & 0xFFFF_FFFF
        self._notify()

    def receive(self, count: int) -> bytes:
        result = bytearray()
        while len(result) < count:
            while self._indices[2] == self._indices[3]:
                self._exchange()
            result.append(self._replies[self._indices[2] % RING_OCTETS])
            self._indices[2] = (self._indices[2] + 1) & 0xFFFF_FFFF
        return bytes(result)

    def close(self) -> None:
        self._notified.close()

    def _exchange(self) -> None:
        self._notify()
        self._notified.recv(4)

    def _notify(self) -> None:
        self._notified.sendto(self._port, self._xenstored)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    result = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    result.settimeout(WAIT_SECONDS)
    result.bind(str(path))
    return result
