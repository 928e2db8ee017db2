"""When the emulated machine itself has stopped, which no case can be blamed for: how that is
recognized, and what qemu and Xen can still say then.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path

from tests.xen.remote import Machine

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
