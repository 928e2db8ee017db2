"""A guest writes its nodes in XenStore without end, beside others and people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.hostile.store_writer import store_writer
from tests.support.agents import Dom0, Guest, driver_of
from tests.support.local_machine import LocalMachine
from xensnd.sndif.states import XenbusState

CONNECTIONS = 5


def test_others_connect_and_policy_is_read_while_a_guest_writes_without_end(
    tmp_path: Path, machine: LocalMachine, new_guest: Callable[[str], Guest]
) -> None:
    hostile, other = new_guest("hostile"), new_guest("other")
    with (
        Dom0(tmp_path / "dom0", machine.url, f"unix:{tmp_path}/nobody") as dom0,
        driver_of(machine, dom0, hostile) as its_driver,
        driver_of(machine, dom0, other) as driver,
    ):
        with store_writer(machine.url, "hostile"):
            dom0.await_event("limit_hit", domid=hostile.domid)
            for _ in range(CONNECTIONS):
                with dom0.one_more("device_connected", domid=other.domid):
                    driver.connect()
            with dom0.one_more("policy_loaded"):
                dom0.hang_up()
            late = new_guest("late")
            dom0.await_event("device_made", domid=late.domid)
        assert len(dom0.events("limit_hit")) == 1
        assert driver.backend_state() is XenbusState.CONNECTED
        its_driver.connect()
        dom0.await_event("device_connected", domid=hostile.domid)
        assert "Traceback" not in dom0.log
