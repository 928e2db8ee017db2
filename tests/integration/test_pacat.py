"""Guests that xensnd-pacat registers, as Qubes' own qvm-start-daemon has it do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pacat import Pacat
from tests.support.pulse_server import noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import VchanGuest
from xensnd.control.client import AgentClient
from xensnd.errors import UsageError

OPTIONS = ("--vchan=registered",)
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: deny\n'
STUBDOMAIN_POLICY = """version: 1
rules:
  - {guest: windows, playback: allow, capture: allow}
  - {guest: '*', playback: allow, capture: deny}
"""
NO_AGENT = "no agent answers, is xensnd-dom0 running?; it is tried again"

NewPacat = Callable[[VchanGuest], Pacat]


@pytest.fixture
def guest(machine: LocalMachine, dom0: Dom0) -> Iterator[VchanGuest]:
    assert dom0.pid
    with VchanGuest(machine, "work") as guest:
        yield guest
    machine.destroy("work")


@pytest.fixture
def new_pacat(tmp_path: Path, dom0: Dom0) -> Iterator[NewPacat]:
    """`new_pacat(guest)`: not started yet, and ended with the test if it runs then."""
    with ExitStack() as stack:

        def make(guest: VchanGuest) -> Pacat:
            pacat = Pacat(tmp_path, dom0.control, guest.domid, guest.name)
            stack.callback(pacat.stop)
            return pacat

        yield make


def is_served(dom0: Dom0, guest: VchanGuest) -> bool:
    return "vchan" in devices(dom0, guest) and guest.is_connected


def devices(dom0: Dom0, guest: VchanGuest) -> set[object]:
    return {device["devid"] for device in dom0.shown(guest.name)["devices"]}


def test_guest_is_served_while_it_is_registered(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    pacat = new_pacat(guest)
    with pacat:
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
        guest.play(noise(2, rate_hz=44100))
        assert eventually(lambda: dom0.shown("work")["plays"]), dom0.end_of_log
        assert eventually(lambda: guest.unplayed == 0)
    dom0.await_event("device_disconnected", guest="work", domid=guest.domid)
    assert eventually(lambda: not guest.is_connected)
    assert "vchan" not in devices(dom0, guest)


def test_guest_that_is_not_registered_is_not_served(
    machine: LocalMachine, dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    with VchanGuest(machine, "other") as other:
        with new_pacat(guest):
            assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
            assert not other.is_connected
            assert "vchan" not in devices(dom0, other)
        with new_pacat(other):
            assert eventually(lambda: is_served(dom0, other)), dom0.end_of_log
    machine.destroy("other")


def test_guest_that_never_offers_its_sound_is_waited_for_and_costs_others_nothing(
    machine: LocalMachine, tmp_path: Path, dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    silent = machine.create("silent")
    with Pacat(tmp_path, dom0.control, silent, "silent") as waiting, new_pacat(guest):
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
        assert "vchan" not in {each["devid"] for each in dom0.shown("silent")["devices"]}
        assert waiting.log == ""
    machine.destroy("silent")


def test_pacat_ends_with_status_0_and_takes_its_pidfile_along(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    pacat = new_pacat(guest)
    pacat.start()
    assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
    assert pacat.stop() == 0
    assert not pacat.pidfile.exists()
    assert pacat.log == ""


def test_guest_is_taken_over_when_the_agent_dies(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    pacat = new_pacat(guest)
    with pacat:
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
        with dom0.one_more("device_connected", guest="work", domid=guest.domid):
            os.kill(dom0.agent_pid, signal.SIGKILL)
        assert eventually(lambda: len(pacat.log_lines) == 2)
        assert pacat.log_lines == [
            f"xensnd-pacat: {dom0.control}: {NO_AGENT}",
            f"xensnd-pacat: {dom0.control}: the guest is registered",
        ]
        assert guest.connections == 1
    dom0.await_event("device_disconnected", guest="work", domid=guest.domid)


def test_guest_whose_pacat_has_ended_meanwhile_is_dropped(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    pacat = new_pacat(guest)
    pacat.start()
    assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
    pacat.freeze()
    with dom0.one_more("device_connected", guest="work", domid=guest.domid):
        os.kill(dom0.agent_pid, signal.SIGKILL)
    pacat.kill()
    dom0.await_event("device_disconnected", seconds=30, guest="work", domid=guest.domid)


def test_agent_that_is_started_anew_serves_the_guest_again(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    with new_pacat(guest):
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
        assert dom0.stop() == 0
        assert eventually(lambda: not guest.is_connected)
        dom0.start()
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log


def test_pacat_that_is_started_before_the_agent_waits_for_it(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    dom0.stop()
    try:
        pacat = new_pacat(guest)
        pacat.start()
        said = str(eventually(lambda: pacat.log))
        assert said == f"xensnd-pacat: {dom0.control}: {NO_AGENT}\n"
    finally:
        dom0.start()
    assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
    assert pacat.log_lines[1:] == [f"xensnd-pacat: {dom0.control}: the guest is registered"]


def test_second_pacat_for_a_guest_is_refused_by_the_pidfile(
    dom0: Dom0, guest: VchanGuest, new_pacat: NewPacat
) -> None:
    with new_pacat(guest) as first:
        assert eventually(lambda: is_served(dom0, guest)), dom0.end_of_log
        second = new_pacat(guest)
        assert second.run() == 1
        expected = f"process {first.pid} serves domain {guest.domid} already"
        assert f"{first.pidfile}: {expected}; end it first (SIGTERM)" in second.log
        assert is_served(dom0, guest)
        assert first.pidfile.read_text() == f"{first.pid}\n"


@pytest.mark.parametrize("offset", [0, 1000])
def test_guest_under_another_name_or_number_is_refused(
    tmp_path: Path, dom0: Dom0, guest: VchanGuest, offset: int
) -> None:
    name, domid = ("wrok", guest.domid) if offset == 0 else ("work", guest.domid + offset)
    pacat = Pacat(tmp_path, dom0.control, domid, name)
    assert pacat.run() == 1
    expected = {
        0: f"domain {domid} is 'work', not 'wrok'; give that name",
        1000: f"domain {domid}: no such guest runs; running guests: {guest.domid} work",
    }[offset]
    assert pacat.log == f"xensnd-pacat: {dom0.control}: {expected}\n"
    assert not pacat.pidfile.exists()
    assert not guest.is_connected


def test_stubdomain_is_registered_by_the_name_of_its_guest(
    tmp_path: Path, machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest]
) -> None:
    """And is, for policy and for people, what that is; the two are not two of one name."""
    target, domid = new_guest("windows").domid, new_guest("windows-dm").domid
    dom0.await_event("device_made", domid=domid)  # as for any domain, so far
    with dom0.one_more("guest_renamed", domid=domid):  # the toolstack says late whose it is
        machine.open_store().write(f"/local/domain/{domid}/target", str(target))
    dom0.await_event("device_removed", domid=domid)  # it has no driver for that
    dom0.use(STUBDOMAIN_POLICY)
    with (
        VchanGuest(machine, "windows-dm", domid=domid) as stubdomain,
        Pacat(tmp_path, dom0.control, domid, "windows"),
    ):
        dom0.await_event("device_connected", guest="windows", domid=domid)
        stubdomain.start_recording()
        decision = dom0.await_event("decision", guest="windows", direction="capture", domid=domid)
        assert decision["XENSND_DECISION"] == "allow"
        assert dom0.events("name_shared") == []
    dom0.use(POLICY)


def test_domain_that_is_only_called_like_a_stubdomain_keeps_its_name(
    tmp_path: Path, machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest]
) -> None:
    target, domid = new_guest("other").domid, new_guest("windows-dm").domid
    machine.open_store().write(f"/local/domain/{domid}/target", str(target))
    dom0.await_event("device_made", domid=domid)
    pacat = Pacat(tmp_path, dom0.control, domid, "windows")
    assert pacat.run() == 1
    assert f"domain {domid} is 'windows-dm', not 'windows'" in pacat.log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domid": 0, "name": "work"}, "domid: 0 is not within 1 to 32751"),
        ({"domid": "7", "name": "work"}, "domid: must be a number"),
        ({"domid": 7}, "name: must be a text"),
        ({"domid": 7, "name": "../x"}, "name: '../x' is no domain's"),
    ],
)
def test_registration_that_makes_no_sense_is_refused(
    dom0: Dom0, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        dom0.ask("register", **arguments)


def test_many_registered_guests_leave_room_for_other_clients(
    machine: LocalMachine, dom0: Dom0
) -> None:
    names = [f"many-{number}" for number in range(40)]
    domids = [machine.create(name) for name in names]
    try:
        with ExitStack() as stack:
            for domid, name in zip(domids, names, strict=True):
                agent = stack.enter_context(AgentClient(dom0.control))
                agent.ask("register", domid=domid, name=name)
            assert dom0.ask("status")["guests"]
    finally:
        for name in names:
            with suppress(UsageError):
                machine.destroy(name)
