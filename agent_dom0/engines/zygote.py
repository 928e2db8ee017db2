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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SECONDS = 5.0

Work = Callable[[socket.socket], None]


class Child(NamedTuple):
    number: int
    pidfd: int  # readable when it has ended
    control: socket.socket  # the agent's end

    def close(self) -> None:
        self.control.close()
        os.close(self.pidfd)


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

    def start(self) -> Child:
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
                number, fds, _, _ = socket.recv_fds(self._control, 32, 1)
                (pidfd,) = fds
                return Child(int(number), pidfd, ours)
            except (OSError, ValueError) as error:
                ours.close()
                raise OSError(errno.EAGAIN, "no process for its engine can be started") from error

    def kill(self, child: Child) -> None:
        with contextlib.suppress(OSError):
            self._control.send(str(child.number).encode())

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
            control.send(b"0")
            continue
        if child == 0:
            control.close()
            _end_with(us)
            ctypes.CDLL(None).prctl(_PR_SET_NAME, b"xensnd-engine")
            with contextlib.suppress(BaseException), socket.socket(fileno=fds[0]) as end:
                work(end)
            os._exit(0)
        children.add(child)
        os.close(fds[0])
        pidfd = os.pidfd_open(child)
        socket.send_fds(control, [str(child).encode()], [pidfd])
        os.close(pidfd)
