"""Policy says ask: the guest gets silence meanwhile, and the person's answer decides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.asking import (
    answer,
    falls_silent,
    goes_live,
    next_event,
    question_of,
    recording,
    stays_silent,
)
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from xensnd.control.client import AgentClient
from xensnd.errors import UsageError

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: ask\n'
OPTIONS = ["--ask-seconds=5"]
NUMBERS = count(1)


@pytest.fixture(autouse=True)
def policy(dom0: Dom0) -> Iterator[None]:
    yield
    (dom0.runtime_directory / "00-grants.yaml").unlink(missing_ok=True)
    for other in dom0.policy_directory.glob("10-*.yaml"):
        other.unlink()
    dom0.use(POLICY)


@pytest.fixture
def guest(new_guest: Any) -> Guest:
    """Each test has one of another name: who was refused is not asked for again at once."""
    made: Guest = new_guest(f"guest-{next(NUMBERS)}")
    return made


@pytest.fixture(autouse=True)
def microphone(pulse: PulseServer) -> Iterator[None]:
    with pulse.microphone(noise(30)):
        yield


def test_recording_is_silent_until_the_person_allows_it_once(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        question = question_of(dom0, guest)
        assert stays_silent(running)
        answer(dom0, guest, question, "once")
        assert goes_live(running)
        decision = dom0.await_event("decision", guest=guest.name, decision="allow")
        assert decision["XENSND_REASON"] == "the person answered: once"
    answered = dom0.await_event("prompt_answered", guest=guest.name)
    assert answered["XENSND_ANSWER"] == "once"
    assert answered["XENSND_BY"].startswith("uid ")
    with recording(guest):
        assert question_of(dom0, guest, count=2) != question


def test_answer_for_a_time_makes_a_grant_that_ends_in_the_middle_of_a_recording(
    dom0: Dom0, guest: Guest
) -> None:
    with recording(guest) as running:
        answer(dom0, guest, question_of(dom0, guest), "for", seconds=3)
        assert goes_live(running)
        made = dom0.await_event("grant_made", guest=guest.name)
        assert "capture: allow" in made["XENSND_GRANT"]
        expired = dom0.await_event("grant_expired", guest=guest.name)
        late = datetime.fromisoformat(expired["TIME"]) - datetime.fromisoformat(
            made["XENSND_UNTIL"]
        )
        assert 0 <= late.total_seconds() < 1
        assert falls_silent(running)
        assert question_of(dom0, guest, count=2)


def is_written(dom0: Dom0, guest: Guest, verb: str) -> bool:
    return f"guest: {guest.name}\n    capture: {verb}" in dom0.policy_file.read_text()


def test_answer_always_writes_a_rule(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        answer(dom0, guest, question_of(dom0, guest), "always")
        assert goes_live(running)
        assert eventually(lambda: is_written(dom0, guest, "allow"))
        assert goes_live(running)
    with recording(guest) as running:
        assert goes_live(running)
    assert len(dom0.events("prompt_shown", guest=guest.name)) == 1


def test_answer_never_writes_a_rule(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        answer(dom0, guest, question_of(dom0, guest), "never")
        assert eventually(lambda: is_written(dom0, guest, "deny"))
        assert stays_silent(running)


def test_answer_that_cannot_be_written_holds_for_the_stream_alone(dom0: Dom0, guest: Guest) -> None:
    site = dom0.policy_directory / "10-site.yaml"
    site.write_text(POLICY)
    site.chmod(0o644)
    with recording(guest) as running:
        answer(dom0, guest, question_of(dom0, guest), "always")
        assert goes_live(running)
    assert (
        f"{guest.name}: the answer 'always' for capture applies to this stream only: " in dom0.log
    )
    with recording(guest) as running:
        question_of(dom0, guest, count=2)
        assert stays_silent(running)


def test_guest_that_was_refused_is_not_asked_for_again_at_once(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        answer(dom0, guest, question_of(dom0, guest), "no")
        assert stays_silent(running)
    with recording(guest) as running:
        hit = dom0.await_event("limit_hit", guest=guest.name)
        assert hit["MESSAGE"] == (
            f"{guest.name}: capture stays silent, and no question is asked: "
            "the person said no less than 10 s ago"
        )
        assert stays_silent(running)
    assert len(dom0.events("prompt_shown", guest=guest.name)) == 1


def test_no_answer_is_no(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        question = question_of(dom0, guest)
        answered = dom0.await_event("prompt_answered", guest=guest.name)
        assert answered["XENSND_ANSWER"] == "no answer"
        assert stays_silent(running)
        with pytest.raises(UsageError, match=f"question {question} is not open"):
            answer(dom0, guest, question, "once")
        assert stays_silent(running)


def test_question_is_withdrawn_when_the_stream_is_closed(dom0: Dom0, guest: Guest) -> None:
    with recording(guest):
        question_of(dom0, guest)
    answered = dom0.await_event("prompt_answered", guest=guest.name)
    assert answered["XENSND_ANSWER"] == "withdrawn"
    assert dom0.ask("status")["prompts"] == []


def test_question_is_withdrawn_when_policy_decides_meanwhile(dom0: Dom0, guest: Guest) -> None:
    with recording(guest) as running:
        question_of(dom0, guest)
        assert dom0.policy("allow-capture", guest.name).returncode == 0
        assert goes_live(running)
        answered = dom0.await_event("prompt_answered", guest=guest.name)
        assert answered["XENSND_ANSWER"] == "withdrawn"


def test_guest_that_opens_again_and_again_is_asked_for_a_few_times_only(
    dom0: Dom0, guest: Guest
) -> None:
    for opened in range(8):
        with recording(guest):
            dom0.await_event("decision", guest=guest.name, count=opened + 1)
    dom0.await_event("limit_hit", guest=guest.name)
    assert len(dom0.events("prompt_shown", guest=guest.name)) <= 6


def test_watcher_sees_the_question_and_its_end(dom0: Dom0, guest: Guest) -> None:
    with AgentClient(dom0.control) as agent:
        agent.ask("watch")
        with recording(guest):
            question = next_event(agent, "prompt")["prompt"]
            assert (question["guest"], question["direction"]) == (guest.name, "capture")
            assert question["seconds"] == 5
            answer(dom0, guest, question["id"], "no")
            gone = next_event(agent, "prompt-gone")
            assert gone == {"event": "prompt-gone", "id": question["id"], "why": "no"}
