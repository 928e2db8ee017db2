"""When the emulated machine itself has stopped, which no case can be blamed for: how that is
recognized, what qemu and Xen can still say then, and how a run ends that may go on with another one
(tools/check-xen).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.xen.remote import Machine

if TYPE_CHECKING:
    from tests.xen.lab import Lab

MAY_GO_ON = 75  # the exit status

ANSWER_SECONDS = 30
XEN_KEY_SECONDS = 3
# Xen's debug keys: its domains, their event channels, run queues, timers, interrupts.
XEN_KEYS = "qerai"
INPUT_TO_XEN = b"\x01" * 3
QEMU_COMMANDS = ("info registers -a", "info pic", "info lapic", "info network", "info status")
QEMU_SECONDS = 5


def works(dom0: Machine) -> bool:
    """Whether dom0 answers, and its XenStore."""
    try:
        return dom0.run("xenstore-exists", "/local", seconds=ANSWER_SECONDS).status == 0
    except OSError:  # with ConnectionError and TimeoutError
        return False


class Standstill:
    """A pytest plugin. `note`: the file that holds the module to begin with, if it is not empty."""

    def __init__(self, note: Path | None) -> None:
        self._note = note
        self._failed_before: int | None = None  # cases; None: it has not stood still
        self._last_words = ""

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        if self._note and (module := self._note.read_text()):
            first = [_module(item) for item in items].index(module)
            config.hook.pytest_deselected(items=items[:first])
            del items[:first]

    def end(self, lab: Lab, item: pytest.Item) -> None:
        """End the run in this case: nothing that comes would pass, and each would wait for long."""
        if self._failed_before is not None:
            return
        self._failed_before = item.session.testsfailed
        self._last_words = lab.give_up()
        item.session.shouldstop = f"the lab's machine stood still in {item.nodeid}"
        if self._note:
            self._note.write_text(_module(item))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        if self._failed_before is None:
            return (yield)
        with suppress(Exception):  # of fixtures that clean up a machine that has gone
            yield
        if self._failed_before == 0:
            session.exitstatus = MAY_GO_ON

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._last_words:
            terminalreporter.section("what the machine still had to say")
            terminalreporter.line(self._last_words)


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def examine(monitor: Path, serial: Path) -> str:
    """What qemu says of its processors and devices, and Xen of its domains."""
    said = [f"(qemu) {command}\n{_ask_qemu(monitor, command)}" for command in QEMU_COMMANDS]
    return "\n".join([*said, _ask_xen(serial)])


def _ask_qemu(monitor: Path, command: str) -> str:
    """QMP, a line of JSON each way: qemu's interop/qmp-spec."""
    human = {"execute": "human-monitor-command", "arguments": {"command-line": command}}
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(QEMU_SECONDS)
        connection.connect(str(monitor))
        for asked in ({"execute": "qmp_capabilities"}, human):
            connection.sendall(json.dumps(asked).encode() + b"\n")
        for line in connection.makefile("rb"):
            if text := json.loads(line).get("return"):
                return str(text)
    return "no answer"


def _ask_xen(serial: Path) -> str:
    """What it says on its console: that it takes keys now, and the answer to each."""
    said = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(serial))
        connection.settimeout(XEN_KEY_SECONDS)
        for keys in (INPUT_TO_XEN, *(key.encode() for key in XEN_KEYS)):
            connection.sendall(keys)
            with suppress(TimeoutError):  # it has said all
                while octets := connection.recv(1 << 16):
                    said += octets
    return said.decode(errors="replace").replace("\r", "")
