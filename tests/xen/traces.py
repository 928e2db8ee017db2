"""What guests and their sound must not leave behind: complaints, mapped grants, descriptors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.xen.dom0 import Agent
from tests.xen.lab import wait_until
from tests.xen.remote import Machine

SETTLE_SECONDS = 15
GNTDEV = "/dev/xen/gntdev"


@contextmanager
def no_complaints(dom0: Machine) -> Iterator[None]:
    """Neither dom0's kernel nor Xen says anything that is a warning or worse, and Xen knows of no
    other domain's page that is in use than before."""
    granting = granting_domains(dom0)
    known = len(kernel_complaints(dom0))
    yield
    said_by_xen = dom0.do("xl", "dmesg").splitlines()
    said_by_kernel = kernel_complaints(dom0)[known:]
    assert not said_by_xen, said_by_xen
    assert not said_by_kernel, said_by_kernel
    wait_until(
        lambda: granting_domains(dom0) == granting,
        SETTLE_SECONDS,
        lambda: f"granted and in use: before {granting}, now {granting_domains(dom0)}",
    )


def kernel_complaints(dom0: Machine) -> list[str]:
    """An emulated CPU that waits for its turn on a busy machine is no fault of ours."""
    said = dom0.do("dmesg", "--level=emerg,alert,crit,err,warn").splitlines()
    return [line for line in said if "hrtimer: interrupt took" not in line]


def granting_domains(dom0: Machine) -> dict[str, int]:
    """How many pages of each domain others have in use, as Xen counts them. Xen's log is empty
    when this returns."""
    dom0.do("xl", "dmesg", "-c")
    dom0.do("xl", "debug-keys", "g")
    said = wait_until(
        lambda: (said := dom0.do("xl", "dmesg")).rstrip().endswith("] done") and said,
        SETTLE_SECONDS,
        lambda: "Xen does not tell of its grants",
    )
    dom0.do("xl", "dmesg", "-c")
    _, *tables = said.split("grant-table for remote ")
    counts = {table.split()[0]: len(re.findall(r"\[0x\w+\]", table)) for table in tables}
    return {domain: count for domain, count in counts.items() if count}


@contextmanager
def gives_all_back(agent: Agent) -> Iterator[None]:
    """When the block ends, and with it its guests, the agent holds what it held before."""
    before = held(agent)
    yield
    wait_until(
        lambda: held(agent) == before,
        SETTLE_SECONDS,
        lambda: f"the agent held {before}\nand holds {held(agent)}",
    )


def held(agent: Agent) -> dict[str, Any]:
    """Mapped grants and descriptors of the agent's processes, and the devices that it serves."""
    listed = re.findall(r" -> ([^\d\n]+)", agent.in_proc("ls -l", "fd/"))
    descriptors = Counter(listed)
    return {
        "grant mappings": agent.in_proc("cat", "maps").count(GNTDEV),
        "devices": agent.devices,
        **descriptors,
    }
