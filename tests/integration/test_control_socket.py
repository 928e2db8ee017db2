"""Whoever talks with the control socket: strangers are refused, bad clients do no harm."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.agents import Dom0
from tests.support.raw_frontend import eventually

CONNECT_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b'{"version": 1, "do": "status"}\\n')
print(client.makefile().readline().strip())
"""


@contextmanager
def client(dom0: Dom0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(10)
        connected.connect(str(dom0.control))
        yield connected


def said(connected: socket.socket, line: bytes) -> Any:
    connected.sendall(line + b"\n")
    with connected.makefile("rb") as file:
        return json.loads(file.readline())


def works(dom0: Dom0) -> bool:
    return bool(dom0.ask("status")["ok"])


def test_socket_is_open_to_its_owner_alone(dom0: Dom0) -> None:
    assert stat.S_IMODE(dom0.control.stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_stranger_is_refused_even_where_the_mode_lets_it_in(dom0: Dom0) -> None:
    parents = [path for path in dom0.control.parents if not path.stat().st_mode & stat.S_IXOTH]
    modes = {path: path.stat().st_mode for path in (dom0.control, *parents)}
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode) | 0o007)
    try:
        ended = subprocess.run(
            ["/usr/bin/python3", "-c", CONNECT_AS_NOBODY, dom0.control],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
    assert json.loads(ended.stdout) == {
        "ok": False,
        "error": "only root and the agent's own user may use this socket",
    }, ended.stderr


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello", "a request must be one JSON object on one line"),
        (b"", "a request must be one JSON object on one line"),
        (b"\xff\xfe", "a request must be one JSON object on one line"),
        (b"[" * 5000, "a request must be one JSON object on one line"),
        (b"[]", "a request must be one JSON object on one line"),
        (b'{"do": "status"}', "a request must be an object with version 1"),
        (b'{"version": 1, "do": ["x"]}', "unknown operation \"['x']\"; known are"),
        (b'{"version": 1, "do": "mute"}', "guest: must be a text"),
        (b'{"version": 1, "do": "mute", "guest": "\\ud800"}', "guest: must be a text"),
        (
            b'{"version": 1, "do": "volume", "guest": "a", "percent": 1e3}',
            "percent: 1000.0 is not within",
        ),
        (b'{"version": 1, "do": "answer", "id": NaN, "answer": "no"}', "id: nan is not within"),
        (
            b'{"version": 1, "do": "answer", "id": 1' + b"0" * 400 + b', "answer": "no"}',
            "id: 1000",
        ),
        (b'{"version": 1, "do": "answer", "id": 99, "answer": "maybe"}', "'maybe' is not one of"),
        (
            b'{"version": 1, "do": "answer", "id": 99, "answer": "no", "direction": "capture"}',
            "guest: must be a text",
        ),
        (
            b'{"version": 1, "do": "answer", "id": 99, "guest": "work", "answer": "no"}',
            "direction: must be playback or capture, got 'None'",
        ),
        (
            b'{"version": 1, "do": "answer", "id": 99, "guest": "work", "direction": "capture",'
            b' "answer": "no"}',
            "question 99 is not open",
        ),
        (b'{"version": 1, "do": "mute", "guest": "a", "direction": {}}', "direction: must be"),
    ],
)
def test_malformed_request_is_refused_in_one_line(dom0: Dom0, line: bytes, error: str) -> None:
    with client(dom0) as connected:
        answer = said(connected, line)
        assert answer["ok"] is False
        assert error in answer["error"]
        assert said(connected, b'{"version": 1, "do": "status"}')["ok"] is True


def test_endless_line_is_hung_up_on(dom0: Dom0) -> None:
    with client(dom0) as connected, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connected.sendall(b"x" * (64 << 20))
    assert works(dom0)


def test_client_that_does_not_read_is_hung_up_on(dom0: Dom0) -> None:
    with client(dom0) as connected:
        connected.settimeout(0.5)
        try:
            while True:
                connected.sendall(b'{"version": 1, "do": "status"}\n' * 100)
        except OSError:
            pass
        assert eventually(lambda: "does not read its answers; it is disconnected" in dom0.log)
    assert works(dom0)


def test_many_clients_leave_room_for_others_once_they_go(dom0: Dom0) -> None:
    crowd = []
    for _ in range(40):
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(dom0.control))
        crowd.append(connected)
    crowd[-1].settimeout(10)
    assert crowd[-1].recv(1) == b""
    for connected in crowd:
        connected.close()
    assert eventually(lambda: is_answered(dom0))


def is_answered(dom0: Dom0) -> bool:
    with client(dom0) as connected:
        try:
            return bool(said(connected, b'{"version": 1, "do": "status"}')["ok"])
        except (OSError, ValueError):
            return False
