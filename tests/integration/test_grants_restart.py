"""A grant for one stream, and a person's answer, while the agent dies and another takes over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.asking import ASK, answer, goes_live, question_of, recording, stays_silent
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from xensnd.errors import UsageError


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
        assert used["MESSAGE"].endswith("used by one stream")
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


def test_grant_that_nobody_has_used_is_there_for_one_stream_after_a_restart(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.start()
    own_dom0.policy("allow-capture", "work", "--once")
    own_dom0.await_event("grant_made", guest="work")
    own_dom0.kill()
    own_dom0.start()
    with pulse.microphone(noise(60)):
        with recording(work) as running:
            assert goes_live(running)
        own_dom0.await_event("grant_expired", guest="work")
        own_dom0.stop()
        own_dom0.start()
        with recording(work) as running:
            own_dom0.await_event("decision", domid=work.domid, decision="deny")
            assert stays_silent(running)


def test_what_was_answered_holds_over_a_restart_and_is_not_asked_again(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.write_policy(ASK)
    own_dom0.start()
    with pulse.microphone(noise(60)):
        with recording(work) as running:
            answer(own_dom0, work, question_of(own_dom0, work), "once")
            assert goes_live(running)
            own_dom0.kill()
            own_dom0.start()
            own_dom0.await_event("stream_taken_over", domid=work.domid)
            assert goes_live(running)
            assert own_dom0.ask("status")["prompts"] == []
        own_dom0.await_event("stream_closed", domid=work.domid)
        with recording(work) as running:
            question_of(own_dom0, work, count=2)
            assert stays_silent(running)


def test_what_was_refused_is_not_asked_again_after_a_restart(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.write_policy(ASK)
    own_dom0.start()
    with pulse.microphone(noise(60)), recording(work) as running:
        answer(own_dom0, work, question_of(own_dom0, work), "no")
        own_dom0.await_event("decision", domid=work.domid, decision="deny")
        own_dom0.kill()
        own_dom0.start()
        own_dom0.await_event("stream_taken_over", domid=work.domid)
        own_dom0.await_event("decision", domid=work.domid, decision="deny", count=2)
        assert stays_silent(running)
    assert len(own_dom0.events("prompt_shown")) == 1


def test_question_that_nobody_has_answered_is_asked_again_after_a_restart(
    own_dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    own_dom0.write_policy(ASK)
    own_dom0.start()
    with pulse.microphone(noise(60)), recording(work) as running:
        question_of(own_dom0, work)
        own_dom0.kill()
        own_dom0.start()
        answer(own_dom0, work, question_of(own_dom0, work, count=2), "once")
        assert goes_live(running)


def test_answer_to_an_agent_that_has_died_lets_nobody_record(
    own_dom0: Dom0, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    """Its successor asks again, about whichever stream it comes to first."""
    trusted, untrusted = new_guest("trusted"), new_guest("untrusted")
    own_dom0.write_policy(ASK)
    own_dom0.start()
    with (
        pulse.microphone(noise(60)),
        recording(trusted) as recording_trusted,
        recording(untrusted) as recording_untrusted,
    ):
        seen = [question_of(own_dom0, guest) for guest in (trusted, untrusted)]
        own_dom0.kill()
        own_dom0.start()
        asked = [question_of(own_dom0, guest, count=2) for guest in (trusted, untrusted)]
        assert not {*seen} & {*asked}
        for question in seen:
            done = own_dom0.policy(f"--control={own_dom0.control}", "prompt", str(question), "once")
            assert done.returncode == 2
            assert done.stderr == (
                f"xensnd-policy: question {question} is not open: answered already, or too late\n"
            )
        with pytest.raises(UsageError, match="asks whether untrusted may record"):
            answer(own_dom0, trusted, asked[1], "once")
        assert stays_silent(recording_untrusted)
        assert stays_silent(recording_trusted)
        done = own_dom0.policy(f"--control={own_dom0.control}", "prompt", str(asked[0]), "once")
        assert done.stdout == f"prompt {asked[0]}: once\n"
        assert goes_live(recording_trusted)
        assert stays_silent(recording_untrusted)
