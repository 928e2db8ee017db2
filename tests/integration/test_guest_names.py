"""A guest's name may change while it runs: what holds is what policy says of the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.agents import ALLOW_PLAYBACK, Dom0, Guest
from tests.support.asking import falls_silent, goes_live, recording, stays_silent
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually

WORK_RECORDS = (
    "version: 1\nrules:\n"
    "  - {guest: work, playback: allow, capture: allow}\n"
    "  - {guest: '*', playback: allow, capture: deny}\n"
)


@pytest.fixture(autouse=True)
def policy(dom0: Dom0, pulse: PulseServer) -> Iterator[None]:
    dom0.use(WORK_RECORDS)
    with pulse.microphone(noise(60)):
        yield
    dom0.use(ALLOW_PLAYBACK)


def rename(machine: LocalMachine, guest: Guest, name: str) -> None:
    """As `xl rename` does."""
    with closing(machine.open_store()) as store:
        store.write(f"/local/domain/{guest.domid}/name", name)


def shown(dom0: Dom0, guest: Guest) -> dict[str, Any]:
    (found,) = [each for each in dom0.ask("status")["guests"] if each["domid"] == guest.domid]
    return dict(found)


def source_outputs(pulse: PulseServer) -> list[str]:
    """Those of guests."""
    with pulse.mixer() as mixer:
        names = [each.name for each in mixer.source_output_list()]
        return [name for name in names if name.endswith(" capture")]


def test_recording_ends_with_the_name_that_allowed_it_and_comes_back_with_it(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    with recording(work) as running:
        assert goes_live(running)
        rename(machine, work, "untrusted")
        assert falls_silent(running)
        denied = dom0.await_event("decision", domid=work.domid, decision="deny")
        assert denied["XENSND_GUEST"] == "untrusted"
        renamed = dom0.await_event("guest_renamed", domid=work.domid)
        assert (renamed["XENSND_OLD_NAME"], renamed["XENSND_GUEST"]) == ("work", "untrusted")
        assert shown(dom0, work)["name"] == "untrusted"
        assert stays_silent(running)
        rename(machine, work, "work")
        assert goes_live(running)
    assert len(dom0.events("stream_opened", domid=work.domid)) == 1


def test_stream_that_may_go_on_has_the_new_name_at_the_audio_server(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(WORK_RECORDS.replace("work", "'*'"))
    with recording(work) as running:
        assert goes_live(running)
        rename(machine, work, "personal")
        assert eventually(lambda: source_outputs(pulse) == ["personal capture"])
        assert goes_live(running)
        dom0.await_event("decision", guest="personal", domid=work.domid, decision="allow")


def test_two_guests_of_one_name_may_both_not_record(
    dom0: Dom0, machine: LocalMachine, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    with recording(work) as running, recording(other) as running_other:
        assert goes_live(running)
        rename(machine, other, "work")
        assert falls_silent(running)
        assert stays_silent(running_other)
        for guest in (work, other):
            shared = dom0.await_event("name_shared", domid=guest.domid)
            assert shared["XENSND_GUEST"] == "work"
            assert shown(dom0, guest)["shares_name"] is True
        status = dom0.policy(f"--control={dom0.control}", "status").stdout
        assert status.count("not the only guest of this name") == 2
        assert dom0.ask("mute", guest="work", direction="capture")["changed"] == 2
        assert dom0.ask("unmute", guest="work", direction="capture")["changed"] == 2
        rename(machine, other, "other")
        assert goes_live(running)
        assert stays_silent(running_other)
