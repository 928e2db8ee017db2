"""The control socket comes and goes with the agent."""

from __future__ import annotations

from typing import Any

from tests.support.agents import Dom0, Guest, run
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually


def test_socket_goes_with_the_agent(own_dom0: Dom0) -> None:
    own_dom0.start()
    assert own_dom0.control.is_socket()
    own_dom0.kill()
    own_dom0.start()
    assert own_dom0.ask("status")["ok"]
    own_dom0.stop()
    assert not own_dom0.control.exists()


def is_muted_at_60(heard: Any) -> bool:
    return bool(heard.mute == 1 and abs(heard.volume.value_flat - 0.6) < 0.01)


def test_mute_and_volume_hold_over_a_restart_for_open_streams_and_later_ones(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.start()
    with work.start("play", "-", stdin=[noise(30)]):
        with sink_input(pulse, "work") as now:
            own_dom0.ask("volume", guest="work", percent=60)
            own_dom0.ask("mute", guest="work")
            assert eventually(lambda: now().mute == 1)
        own_dom0.kill()
        own_dom0.start()
        with sink_input(pulse, "work") as now:
            assert eventually(lambda: is_muted_at_60(now()))
    with work.start("play", "-", stdin=[noise(30)]), sink_input(pulse, "work") as now:
        assert eventually(lambda: is_muted_at_60(now()))


def test_guest_of_the_same_number_is_not_muted_with_the_one_before(
    own_dom0: Dom0, machine: LocalMachine
) -> None:
    own_dom0.start()
    work = Guest(machine, "work")
    own_dom0.await_event("device_made", domid=work.domid)
    own_dom0.ask("mute", guest="work")
    record = own_dom0.control.parent / "volumes" / str(work.domid)
    assert record.exists()
    work.destroy()
    assert eventually(lambda: not record.exists())


def test_group_that_does_not_exist_is_told_at_the_start(own_dom0: Dom0) -> None:
    ended = run("xensnd-dom0", *own_dom0.options, "--control-group=no-such-group")
    assert ended.returncode == 1
    assert ended.stderr == (
        "xensnd-dom0: --control-group no-such-group: no such group; make it first\n"
    )


def test_place_where_no_socket_can_be_is_told_at_the_start(own_dom0: Dom0) -> None:
    ended = run("xensnd-dom0", *own_dom0.options, "--control=/nowhere/control")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "xensnd-dom0: --control /nowhere/control: No such file or directory; "
        "give a path where a socket can be made"
    )
