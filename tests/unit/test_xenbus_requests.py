"""XenStore through the kernel's device, which sends what is written later, and from one buffer."""

from __future__ import annotations

import os
import select
import struct
import threading
import tty
from collections.abc import Iterator
from contextlib import closing

import pytest

from xensnd.transport.xenstore import XenStore

HEADER = struct.Struct("=IIII")
SENDS_AFTER_SECONDS = 0.02  # without another request


@pytest.fixture
def device() -> Iterator[str]:
    """The path of a device at which each node's value is its own path."""
    ours, theirs = os.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    kernel = threading.Thread(target=answer, args=[ours], daemon=True)
    kernel.start()
    yield os.ttyname(theirs)
    os.close(theirs)
    kernel.join()
    os.close(ours)


def answer(device: int) -> None:
    """As xenbus_file_write() of Linux does: a payload replaces the one before it, even if that was
    not sent yet."""
    headers: list[tuple[int, int, int, int]] = []
    buffer = bytearray(4096)
    try:
        while True:
            headers.append(HEADER.unpack(read_exactly(device, HEADER.size)))
            payload = read_exactly(device, headers[-1][3])
            buffer[: len(payload)] = payload
            if select.select([device], [], [], SENDS_AFTER_SECONDS)[0]:
                continue
            for op, request, transaction, octets in headers:
                value = bytes(buffer[: octets - 1])
                os.write(device, HEADER.pack(op, request, transaction, len(value)) + value)
            headers.clear()
    except OSError:  # the other end was closed
        return


def read_exactly(device: int, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        octets += os.read(device, count - len(octets))
    return octets


def test_each_of_many_values_is_that_of_its_node(device: str) -> None:
    paths = ["device/vsnd/0/0/1/sample-rates", "device/vsnd/0/0/1/buffer-size", "name"]
    with closing(XenStore.over_xenbus(device)) as store:
        assert store.read_each(paths) == paths
