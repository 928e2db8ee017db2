"""A guest writes its nodes in XenStore without end, beside others and people."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.hostile.store_writer import store_writer
from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import RawFrontend
from xensnd.sndif.states import XenbusState

CONNECTIONS = 5


def test_others_connect_and_policy_is_read_while_a_guest_writes_without_end(
    tmp_path: Path, machine: LocalMachine, new_guest: Callable[[str], Guest]
) -> None:
    hostile, other = new_guest("hostile"), new_guest("other")
    with (
        Dom0(tmp_path / "dom0", machine.url, f"unix:{tmp_path}/nobody") as dom0,
        closing(machine.transport("other")) as transport,
        closing(transport.open_store()) as store,
    ):
        for guest in (hostile, other):
            dom0.await_event("device_made", domid=guest.domid)
        backend = f"/local/domain/0/backend/vsnd/{other.domid}/0"
        frontend = RawFrontend(transport, store, backend)
        with store_writer(machine.url, "hostile"):
            dom0.await_event("limit_hit", domid=hostile.domid)
            for _ in range(CONNECTIONS):
                with dom0.one_more("device_connected", domid=other.domid):
                    frontend.connect()
            with dom0.one_more("policy_loaded"):
                dom0.hang_up()
            late = new_guest("late")
            dom0.await_event("device_made", domid=late.domid)
        assert len(dom0.events("limit_hit")) == 1
        assert frontend.backend_state() is XenbusState.CONNECTED
        with (
            closing(machine.transport("hostile")) as again,
            closing(again.open_store()) as its_store,
        ):
            backend = f"/local/domain/0/backend/vsnd/{hostile.domid}/0"
            RawFrontend(again, its_store, backend).connect()
        dom0.await_event("device_connected", domid=hostile.domid)
        assert "Traceback" not in dom0.log
