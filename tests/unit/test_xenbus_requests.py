"""XenStore through the kernel's device, which sends what is written later, and from one buffer."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from xensnd.transport.xenstore import XenStore

HEADER = struct.Struct("=IIII")
SENDS_AFTER_SECONDS = 0.02  # without another request


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[XenStore]:
    """At its device each node's value is the node's own path."""
    kernel, ours = socket.socketpair()
    answering = threading.Thread(target=answer, args=[kernel.fileno()], daemon=True)
    answering.start()
    with monkeypatch.context() as patched:
        patched.setattr("xensnd.transport.xenstore.os.open", lambda *_: ours.detach())
        store = XenStore.over_xenbus("/dev/xen/xenbus")
    yield store
    store.close()
    answering.join()
    kernel.close()


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
    except OSError:
        return


def read_exactly(device: int, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = os.read(device, count - len(octets))
        if not more:
            raise OSError("the other end was closed")
        octets += more
    return octets


def test_each_of_many_values_is_that_of_its_node(store: XenStore) -> None:
    paths = ["device/vsnd/0/0/1/sample-rates", "device/vsnd/0/0/1/buffer-size", "name"]
    assert store.read_each(paths) == paths
