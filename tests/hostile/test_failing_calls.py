"""A call of the agent fails, as it does when the machine has no memory or descriptors left: one
call after another, from the first that serving a guest takes to the last. The guest's card waits,
is named in one line, and is served in the end; another guest is served all the while."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from pathlib import Path

import pytest

from tests.hostile.acts import START, query_all
from tests.hostile.evil_guest import EvilGuest
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import RawStream, eventually
from xensnd.sndif.packets import Close, Status

SERVED_SECONDS = 10
STRIDE = 5  # every fifth call, but all of them if there is time (--seconds)


class Kind(IntEnum):
    MEMORY = 0
    DESCRIPTORS = 1


class _Words(ctypes.Structure):
    """struct failing of failing.c, for one kind."""

    _fields_ = (
        ("countdown", ctypes.c_uint32),
        ("times", ctypes.c_uint32),
        ("failed", ctypes.c_uint32),
    )


class Failing:
    """Says which calls of a process fail that was started with `prefix`."""

    def __init__(self, directory: Path) -> None:
        built, file = directory / "failing.so", directory / "failing"
        source = Path(__file__).with_name("failing.c")
        flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, "-o", str(built), str(source)], check=True)
        file.write_bytes(bytes(ctypes.sizeof(_Words) * len(Kind)))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)
        self._words = (_Words * len(Kind)).from_buffer(self._memory)
        self.prefix = ["env", f"LD_PRELOAD={built}", f"XENSND_FAILING={file}"]

    def from_call(self, number: int, kind: Kind, times: int) -> None:
        """The call of this number from now on fails, the next is 1, and those after it."""
        words = self._words[kind]
        words.countdown, words.failed, words.times = 0, 0, times
        words.countdown = number

    def end(self, kind: Kind) -> int:
        """Nothing fails from now on. Returns how many calls did."""
        self._words[kind].countdown = 0
        return int(self._words[kind].failed)


@dataclass(frozen=True, slots=True)
class Stage:
    machine: LocalMachine
    dom0: Dom0
    failing: Failing
    other: RawStream


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, machine: LocalMachine, pulse: PulseServer
) -> Iterator[Stage]:
    failing = Failing(tmp_path_factory.mktemp("failing"))
    with (
        Dom0(
            tmp_path_factory.mktemp("dom0"), machine.url, pulse.address, prefix=failing.prefix
        ) as dom0,
        EvilGuest(machine, dom0, Guest(machine, "other")) as other,
    ):
        yield Stage(machine, dom0, failing, other.connect())


def is_served(evil: EvilGuest) -> bool:
    """From the handshake to OPEN and back."""
    if not evil.tries_to_connect():
        return False
    stream = evil.streams[0]
    opened = stream.ask(stream.good_open()) == stream.ask(START) == Status.OK
    return opened and stream.ask(Close()) == Status.OK


def serve(stage: Stage) -> int:
    """A new guest, from its beginning to its end, however often it has to try. Its number."""
    guest = Guest(stage.machine, "evil")
    try:
        with EvilGuest(stage.machine, stage.dom0, guest) as evil:
            assert eventually(lambda: is_served(evil), SERVED_SECONDS), stage.dom0.end_of_log
    finally:
        guest.destroy()
    return guest.domid


@pytest.mark.parametrize("times", [1, 3], ids=["once", "three times"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_guest_waits_and_is_served_in_the_end_and_no_other_is_concerned(
    stage: Stage, kind: Kind, times: int, request: pytest.FixtureRequest
) -> None:
    dom0, agent = stage.dom0, stage.dom0.agent_pid
    stride = 1 if request.config.getoption("--seconds") else STRIDE
    number = 0
    for number in count(1, stride):
        stage.failing.from_call(number, kind, times)
        domid = serve(stage)
        assert stage.other.ask(*query_all(stage.other)) == Status.OK
        failed = dom0.events("device_failed", domid=domid)
        assert len(failed) <= times, failed
        assert "Traceback" not in dom0.log, dom0.end_of_log
        assert dom0.agent_pid == agent
        if not stage.failing.end(kind):
            break
    assert number > 1, "no call failed"
