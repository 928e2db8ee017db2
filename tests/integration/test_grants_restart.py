"""A grant for one stream, while the agent dies and another takes over."""

from __future__ import annotations

from tests.agents import Dom0, Guest
from tests.integration.test_asking import goes_live, recording
from tests.local_machine import LocalMachine
from tests.pulse_server import PulseServer, noise


def test_stream_keeps_its_grant_over_a_restart_and_uses_it_up_when_it_ends(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.start()
    assert own_dom0.policy("allow-capture", "work", "--once").returncode == 0
    own_dom0.await_event("grant_made", guest="work")
    with pulse.microphone(noise(60)):
        with recording(work) as running:
            assert goes_live(running)
            own_dom0.kill()
            own_dom0.start()
            own_dom0.await_event("stream_taken_over", domid=work.domid)
            assert goes_live(running)
        used = own_dom0.await_event("grant_expired", guest="work")
        assert used["MESSAGE"].endswith("used up by one stream")
        with recording(work):
            own_dom0.await_event("decision", domid=work.domid, decision="deny")


def test_grant_of_a_stream_that_ended_without_an_agent_is_used_up(
    own_dom0: Dom0, pulse: PulseServer, machine: LocalMachine
) -> None:
    work = Guest(machine, "work")
    own_dom0.start()
    own_dom0.policy("allow-capture", "work", "--once")
    own_dom0.await_event("grant_made", guest="work")
    grants = own_dom0.runtime_directory / "00-grants.yaml"
    with pulse.microphone(noise(60)):
        with work.start("record", "-", "--seconds=60") as running:
            assert goes_live(running)
            own_dom0.kill()
            assert "taken-by" in grants.read_text()
        work.destroy()
        own_dom0.start()
        assert "taken-by" not in grants.read_text()
