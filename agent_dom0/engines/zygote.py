"""A process that forks the engines' processes, since an agent that has confined itself cannot.

It is forked by an agent that has loaded all that an engine needs, and ends with it, and so do its
children. It meets no guest's octets.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SECONDS = 5.0
# So long may a process take until it is ready.
START_SECONDS_MAX = 5.0

Work = Callable[[socket.socket], None]


class Child(NamedTuple):
    number: int
    pidfd: int  # readable when it has ended
    wake_fd: int
    control: socket.socket  # the agent's end

    def close(self) -> None:
        self.control.close()
        os.close(self.pidfd)
        os.close(self.wake_fd)


class Starting:
    """A process that was asked for. It says who it is, and then that it is ready, each time with a
    descriptor. If it cannot be forked, or fails before, its socket is closed."""

    def __init__(self, control: socket.socket, kill: Callable[[int], None]) -> None:
        self._control = control
        self._kill = kill
        self._number: int | None = None  # the process's, once it has said that
        self._pidfd = -1

    def fileno(self) -> int:
        """Return a descriptor that is readable when follow() has something to read."""
        return self._control.fileno()

    def follow(self) -> Child | None:
        """Read the next of what it says. Return the process when that was all. Raises OSError."""
        said, fds, _, _ = socket.recv_fds(self._control, 32, 1)
        if not fds:
            raise OSError(errno.EIO, "it has ended")
        if self._number is None:
            self._number, self._pidfd = int(said), fds[0]
            return None
        return Child(self._number, self._pidfd, fds[0], self._control)

    def wait(self) -> Child:
        """Return the process when it is ready. Raises OSError."""
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            self._control.settimeout(max(until - time.monotonic(), 0.001))
            if (child := self.follow()) is not None:
                return child

    def close(self) -> None:
        """End the process. Before it says who it is, it ends by itself, as its socket is closed."""
        self._control.close()
        if self._number is not None:
            self._kill(self._number)
            os.close(self._pidfd)


class Zygote:
    """The agent's end. `work` is what each child does, with its end of a pair of sockets."""

    def __init__(self, lock: Path, work: Work) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        if os.fork() == 0:
            self._control.close()
            with contextlib.suppress(BaseException):
                _serve(theirs, parent, lock, work)
            os._exit(0)
        theirs.close()
        self._control.settimeout(_SECONDS)

    def fileno(self) -> int:
        """Return a descriptor that is readable when the process has ended."""
        return self._control.fileno()

    def start(self) -> Starting:
        """Ask for a process, and do not wait for it. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise OSError(errno.EAGAIN, "no process for its engine can be started") from error
        return Starting(ours, self._kill)

    def kill(self, child: Child) -> None:
        self._kill(child.number)

    def _kill(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._control.send(str(number).encode())

    def close(self) -> None:
        self._control.close()


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _keep_only(fd: int) -> None:
    """Close what the agent has open: its opener's socket, for one."""
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(control: socket.socket, parent: int, lock: Path, work: Work) -> None:
    _end_with(parent)
    _keep_only(control.fileno())
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"xensnd-zygote")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends with the agent
    # All engines of the agent before are gone once this is ours: they hold it too. Two engines
    # would answer one request of a ring twice.
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    children: set[int] = set()
    while True:
        order, fds, _, _ = socket.recv_fds(control, 32, 1)
        if not order:
            return
        while children and (ended := os.waitpid(-1, os.WNOHANG)[0]):
            children.discard(ended)  # until then no other process gets its number
        if not fds:
            if int(order) in children:
                os.kill(int(order), signal.SIGKILL)
            continue
        us = os.getpid()
        try:
            child = os.fork()
        except OSError:  # no process or memory is left
            os.close(fds[0])
            continue
        if child == 0:
            control.close()
            _end_with(us)
            ctypes.CDLL(None).prctl(_PR_SET_NAME, b"xensnd-engine")
            with contextlib.suppress(BaseException), socket.socket(fileno=fds[0]) as end:
                _introduce_ourselves(end)
                work(end)
            os._exit(0)
        children.add(child)
        os.close(fds[0])


def _introduce_ourselves(end: socket.socket) -> None:
    pidfd = os.pidfd_open(os.getpid())
    socket.send_fds(end, [str(os.getpid()).encode()], [pidfd])
    os.close(pidfd)
