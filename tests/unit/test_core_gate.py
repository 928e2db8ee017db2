"""The microphone's gate: who can close it, and when."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time

from tests.support.core_stream import PAGE_OCTETS, WAIT_SECONDS, Memory, Setting, fd_pair
from xensnd.core import GATE_OCTETS, BackendStream, Gate
from xensnd.transport.interface import EventFds


class HeldChannel:
    """An event channel whose notification holds the engine, and its lock, until it is let go."""

    def __init__(self, fds: EventFds) -> None:
        self.wait_fd, self.notify_fd, self.context = fds.wait_fd, fds.notify_fd, 1
        self.is_held, self.let_go = threading.Event(), threading.Event()
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
        self._functions = function(self._clear), function(lambda _: 0)
        self.clear, self.notify = (
            int(ctypes.cast(each, ctypes.c_void_p).value or 0) for each in self._functions
        )

    def _clear(self, _: int) -> int:
        os.eventfd_read(self.wait_fd)
        self.is_held.set()
        self.let_go.wait(WAIT_SECONDS)
        return 0


def test_gate_is_closed_at_once_while_the_engine_is_busy(capture: Setting) -> None:
    ring = Memory(PAGE_OCTETS)
    fds, peer = fd_pair()
    channel = HeldChannel(fds)
    busy = BackendStream(
        capture.engine,
        playback=False,
        ring_address=ring.address,
        event_address=capture.event_page.address,
        requests=channel,
        events=capture.events,
    )
    busy.begin()
    os.eventfd_write(peer.notify_fd, 1)
    assert channel.is_held.wait(WAIT_SECONDS)
    asked = threading.Thread(target=busy.stats)  # waits for the engine
    asked.start()
    for stream in (busy, capture.backend):
        stream.open_gate(int(time.monotonic() * 1e6) + 1_000_000)
        stream.close_gate()
    assert asked.is_alive()
    channel.let_go.set()
    asked.join()
    busy.close()
    ring.unmap()
    for fd in (fds.wait_fd, fds.notify_fd):
        os.close(fd)


def test_gate_takes_any_deadline(capture: Setting) -> None:
    for until_usec in (None, -1, 0, 2**62, 2**70):
        capture.backend.open_gate(until_usec)


def test_gate_that_another_process_does_not_leave_is_not_waited_for() -> None:
    memory = mmap.mmap(-1, PAGE_OCTETS)
    gate = Gate(memory, GATE_OCTETS)
    gate.open()
    assert gate.close(within_usec=0)
    memory[GATE_OCTETS + 8] = 1  # is_crossed
    assert not gate.close(within_usec=1000)
    memory[GATE_OCTETS + 8] = 0
    assert gate.close(within_usec=0)
