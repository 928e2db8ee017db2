"""What the control socket shows is so: who records, by which rule, and never wrongly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.agents import ALLOW_PLAYBACK, Dom0, Guest, run
from tests.support.asking import next_event
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually
from xensnd.control.client import AgentClient
from xensnd.errors import UsageError

SECOND = 48000 * 4


@pytest.fixture(autouse=True)
def policy(dom0: Dom0) -> Iterator[None]:
    yield
    dom0.use(ALLOW_PLAYBACK)


def test_status_tells_of_the_agent_and_its_policy(dom0: Dom0, work: Guest) -> None:
    dom0.await_event("device_made", domid=work.domid)
    status = dom0.ask("status")
    assert status["agent"]["pid"] > 1
    assert status["agent"]["domid"] == 0
    assert status["policy"] == {
        "directories": [str(dom0.policy_directory), str(dom0.runtime_directory)],
        "rules": 1,
        "problem": None,
    }
    assert status["audit"] == {"where": str(dom0.audit_file), "missing": 0}
    assert status["prompts"] == []
    assert dom0.shown("work")["domid"] == work.domid


def test_bad_policy_is_shown_and_reload_tells_of_it(dom0: Dom0) -> None:
    dom0.write_policy("version: 1\nrules: 7\n")
    problem = dom0.ask("reload")["problem"]
    assert f"{dom0.policy_file}:2:8: " in problem
    assert dom0.ask("status")["policy"]["problem"] == problem


def test_guest_records_only_while_it_does(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    with (
        pulse.microphone(noise(30)),
        work.start("record", "-", "--seconds=30") as recording,
    ):
        dom0.await_event("decision", domid=work.domid, decision="deny")
        dom0.await_event("stream_started", domid=work.domid)
        (device,) = dom0.shown("work")["devices"]
        (stream,) = device["streams"]
        assert (stream["direction"], stream["state"]) == ("capture", "running")
        assert (stream["decision"], stream["is_heard"]) == ("deny", False)
        assert not dom0.shown("work")["records"]

        dom0.policy("allow-capture", "work")
        assert eventually(lambda: dom0.shown("work")["records"])
        recording.listen_until(lambda heard: heard.strip(b"\0"))
        assert eventually(lambda: dom0.stream("work")["level"] > 0.01)
        stream = dom0.stream("work")
        assert stream["source"] == f"{dom0.policy_file}:3"
        assert stream["sound"].startswith("s16_le 48000 Hz, 2 channels, buffer ")

        dom0.policy("deny-capture", "work")
        dom0.await_event("decision", domid=work.domid, decision="deny", count=2)
        assert not dom0.shown("work")["records"]


def test_watcher_is_told_who_records(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    dom0.policy("allow-capture", "work")
    with AgentClient(dom0.control) as agent, pulse.microphone(noise(30)):
        agent.ask("watch")
        assert next_event(agent, "recording")["guests"] == []
        with work.start("record", "-", "--seconds=30") as recording:
            assert next_event(agent, "recording")["guests"] == ["work"]
            recording.process.terminate()
            recording.ended()
        assert next_event(agent, "recording")["guests"] == []


def test_lost_audio_server_ends_what_records(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    dom0.policy("allow-capture", "work")
    with work.start("record", "-", "--seconds=30"):
        assert eventually(lambda: dom0.shown("work")["records"])
        with AgentClient(dom0.control) as agent:
            agent.ask("watch")
            assert next_event(agent, "recording")["guests"] == ["work"]
            pulse.kill()
            try:
                assert next_event(agent, "recording")["guests"] == []
                assert not dom0.shown("work")["records"]
            finally:
                pulse.start()
        assert eventually(lambda: dom0.shown("work")["records"], 20)


def test_anything_that_changes_is_told_and_nothing_else(dom0: Dom0, work: Guest) -> None:
    with AgentClient(dom0.control) as agent:
        agent.ask("watch")
        with work.start("play", "-", stdin=[noise(3)]) as playing:
            next_event(agent, "changed")
            eventually(lambda: dom0.shown("work")["plays"])
            time.sleep(0.2)
            while agent.event(0.1):
                pass
            assert agent.event(0.5) is None
            assert playing.is_running


# Volume


def test_mute_holds_against_the_guest_and_for_its_next_stream(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    play = ("play", "-", "--volume=0")
    with work.start(*play, stdin=[noise(5)]), sink_input(pulse, "work") as now:
        assert dom0.ask("mute", guest="work")["changed"] == 1
        assert eventually(lambda: now().mute == 1)
        first = now().index
    with work.start(*play, stdin=[noise(5)]), sink_input(pulse, "work") as now:
        assert eventually(lambda: (found := now()) and found.index != first)
        assert now().mute == 1
        assert dom0.ask("unmute", guest="work")["changed"] == 1
        assert eventually(lambda: now().mute == 0)


def test_volume_holds_against_the_guest_and_for_its_next_stream(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.await_event("device_made", domid=work.domid)
    assert dom0.ask("volume", guest="work", percent=60) == {"ok": True, "changed": 0}
    with (
        work.start("play", "-", "--volume=0", stdin=[noise(5)]),
        sink_input(pulse, "work") as now,
    ):
        assert eventually(lambda: abs(now().volume.value_flat - 0.6) < 0.01)
        assert dom0.ask("volume", guest="work", percent=100)["changed"] == 1
        assert eventually(lambda: abs(now().volume.value_flat - 1) < 0.01)
    told = dom0.await_event("volume_set", domid=work.domid, count=2)
    assert told["MESSAGE"] == "work: playback volume 100%"


def test_guest_that_does_not_run_is_named_with_those_that_do(
    dom0: Dom0, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("personal")
    for guest in (work, other):
        dom0.await_event("device_made", domid=guest.domid)
    with pytest.raises(
        UsageError, match=r"no guest named 'wrok' runs; running guests: .*personal.*work"
    ):
        dom0.ask("mute", guest="wrok")


def volume_shown(dom0: Dom0) -> tuple[int | None, bool]:
    stream = dom0.stream("work")
    return stream["volume_percent"], stream["is_muted"]


def test_status_shows_volume_and_mute_as_the_mixer_has_them_whoever_turned_them(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with work.start("play", "-", stdin=[noise(20)]), sink_input(pulse, "work") as now:
        assert eventually(lambda: volume_shown(dom0) == (100, False))
        dom0.ask("volume", guest="work", percent=60)
        assert eventually(lambda: volume_shown(dom0) == (60, False))
        dom0.ask("mute", guest="work")
        assert eventually(lambda: volume_shown(dom0) == (60, True))
        assert eventually(lambda: now().mute)  # the agent shows it before the server has it
        with AgentClient(dom0.control) as agent, pulse.mixer() as mixer:
            agent.ask("watch")
            next_event(agent, "recording")
            mixer.mute(now(), False)
            next_event(agent, "changed")
            assert volume_shown(dom0) == (60, False)
            mixer.volume_set_all_chans(now(), 0.35)
            assert eventually(lambda: volume_shown(dom0) == (35, False))
        shown_to_people = run("xensnd-policy", f"--control={dom0.control}", "status").stdout
        assert ", volume 35%, gaps " in shown_to_people


def test_status_shows_what_a_person_has_set_for_a_stream_that_is_not_heard(
    dom0: Dom0, work: Guest
) -> None:
    dom0.use(
        ALLOW_PLAYBACK.replace("playback: allow", "playback: deny").replace(
            "capture: deny", "capture: allow"
        )
    )
    dom0.ask("mute", guest="work")
    with work.start("play", "-", stdin=[noise(5)]):
        dom0.await_event("stream_started", domid=work.domid)
        assert volume_shown(dom0) == (None, True)
