"""xensnd-session between a real session bus with a notification service, and an agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jeepney import Message, message_bus, new_signal
from jeepney.io.blocking import Proxy, open_dbus_connection
from jeepney.low_level import HeaderFields

from tests.support.desktop import CLOSED_BY_EXPIRY, OBJECT, Notifications, SessionBus, SessionHelper
from tests.support.fake_agent import FakeAgent, guest, prompt, status
from tests.support.raw_frontend import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SessionBus]:
    with SessionBus(tmp_path) as bus:
        yield bus


@pytest.fixture
def desktop(bus: SessionBus) -> Iterator[Notifications]:
    with Notifications(bus.address) as desktop:
        yield desktop


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path / "control") as agent:
        yield agent


@pytest.fixture
def helper(tmp_path: Path, bus: SessionBus, agent: FakeAgent) -> Iterator[SessionHelper]:
    helper = SessionHelper(tmp_path, bus.address, agent.path)
    helper.start()
    agent.await_watchers()
    agent.await_request("status")
    yield helper
    assert helper.stop() == 0
    assert not [line for line in helper.log_lines if not line.startswith("xensnd-session: ")]


def test_question_is_shown_with_its_answers_and_stays(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    agent.ask(3, "work")
    shown = desktop.await_one("work")
    assert shown.summary == "Allow a guest to record?"
    assert shown.body == (
        "The guest “work” (domain 7) wants to record from the microphone.\n"
        "No answer within 30 seconds means no."
    )
    assert shown.actions[::2] == ("once", "for", "no", "always", "never")
    assert (shown.expires_ms, shown.hints["urgency"]) == (0, 2)
    assert helper.log_lines == []


@pytest.mark.parametrize("action", ["once", "for", "always", "no", "never"])
@pytest.mark.usefixtures("helper")
def test_click_answers(agent: FakeAgent, desktop: Notifications, action: str) -> None:
    agent.ask(3, "work")
    desktop.click(desktop.await_one("work"), action)
    asked = {"id": 3, "guest": "work", "direction": "capture"}
    answer = {"version": 1, "do": "answer", **asked, "answer": action}
    assert agent.await_request("answer") == answer | ({"seconds": 1800} if action == "for" else {})


@pytest.mark.usefixtures("helper")
def test_closing_it_means_no_and_is_said_once(agent: FakeAgent, desktop: Notifications) -> None:
    agent.ask(3, "work")
    desktop.close(desktop.await_one("work"))
    assert agent.await_request("answer")["answer"] == "no"
    agent.ask(4, "web")
    desktop.click(desktop.await_one("web"), "once")
    assert agent.await_request("answer", 2)["id"] == 4
    assert len([each for each in agent.requests if each["do"] == "answer"]) == 2


@pytest.mark.usefixtures("helper")
def test_question_that_is_gone_is_withdrawn(agent: FakeAgent, desktop: Notifications) -> None:
    agent.ask(3, "work")
    agent.ask(4, "web")
    desktop.await_shown(lambda shown: len(shown) == 2)
    agent.tell("prompt-gone", id=3, why="no answer")
    desktop.await_one("web")
    agent.tell("prompt-gone", id=4, why="withdrawn")
    desktop.await_none()
    assert not [each for each in agent.requests if each["do"] == "answer"]


def test_question_from_before_is_shown(
    tmp_path: Path, bus: SessionBus, agent: FakeAgent, desktop: Notifications
) -> None:
    agent.status = status(prompts=(prompt(3, "work", "playback"),))
    helper = SessionHelper(tmp_path, bus.address, agent.path)
    helper.start()
    assert desktop.await_one("work").summary == "Allow a guest to play sound?"
    assert helper.stop() == 0
    desktop.await_none()


def test_question_of_which_the_number_comes_after_the_end_is_withdrawn(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    def end_first() -> None:
        helper.signal(signal.SIGTERM)
        time.sleep(0.2)  # until it has taken notice

    desktop.before_reply = end_first
    agent.ask(3, "work")
    assert helper.await_end() == 0
    desktop.await_none()


@pytest.mark.usefixtures("helper")
def test_guests_name_is_no_markup(agent: FakeAgent, desktop: Notifications) -> None:
    agent.ask(3, '<b>x</b>&\n” is fine. "')
    assert desktop.await_one("domain 7").body.startswith(
        "The guest “&lt;b&gt;x&lt;/b&gt;&amp;\\n&#x27; is fine. &#x27;” (domain 7) wants"
    )


@pytest.mark.usefixtures("helper")
def test_expired_question_is_shown_again(agent: FakeAgent, desktop: Notifications) -> None:
    agent.ask(3, "work")
    first = desktop.await_one("work")
    desktop.close(first, CLOSED_BY_EXPIRY)
    desktop.await_shown(lambda shown: shown and shown[0].number != first.number)
    assert not [each for each in agent.requests if each["do"] == "answer"]


@pytest.mark.usefixtures("helper")
def test_answer_of_another_program_on_the_bus_does_not_count(
    bus: SessionBus, agent: FakeAgent, desktop: Notifications
) -> None:
    agent.ask(3, "work")
    shown = desktop.await_one("work")
    with open_dbus_connection(bus=bus.address) as stranger:
        for number in range(20):  # the helper is one of them
            to = f":1.{number}"
            forged = new_signal(OBJECT, "ActionInvoked", "us", (shown.number, "always"))
            stranger.send(_to(forged, to))
            stranger.send(_to(new_signal(OBJECT, "NotificationClosed"), to))
        stranger.send(new_signal(OBJECT, "ActionInvoked", "us", (shown.number, "always")))
        Proxy(message_bus, stranger).GetId()  # the bus has passed all of it on
    desktop.click(shown, "no")
    assert agent.await_request("answer")["answer"] == "no"


def _to(message: Message, destination: str) -> Message:
    message.header.fields[HeaderFields.destination] = destination
    return message


# Who records


@pytest.mark.usefixtures("helper")
def test_recording_is_shown_exactly_while_it_is(agent: FakeAgent, desktop: Notifications) -> None:
    agent.tell("recording", guests=["work"])
    first = desktop.await_one("“work” hears the microphone")
    assert (first.summary, first.actions) == ("A guest is recording", ())
    agent.tell("recording", guests=["work", "web"])
    second = desktop.await_one("“work”, “web” hear")
    assert (second.number, second.summary) == (first.number, "2 guests are recording")
    agent.tell("recording", guests=["web"])
    desktop.await_one("“web” hears")
    agent.tell("recording", guests=[])
    desktop.await_none()


def test_recording_under_way_is_shown_at_once(
    tmp_path: Path, bus: SessionBus, agent: FakeAgent, desktop: Notifications
) -> None:
    agent.status = status(guest("work", records=True))
    helper = SessionHelper(tmp_path, bus.address, agent.path)
    helper.start()
    desktop.await_one("work")
    assert helper.end(signal.SIGINT) == 0
    desktop.await_none()


@pytest.mark.usefixtures("helper")
def test_recording_that_the_person_closed_comes_back_when_it_changes(
    agent: FakeAgent, desktop: Notifications
) -> None:
    agent.tell("recording", guests=["work"])
    desktop.close(desktop.await_one("work"))
    agent.ask(3, "mail")
    desktop.await_one("mail")
    agent.tell("prompt-gone", id=3, why="once")
    desktop.await_none()
    agent.tell("recording", guests=["work", "mail"])
    desktop.await_one("“work”, “mail”")


# What goes away and comes back


def test_service_that_says_nonsense_is_told_once(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    agent.ask(3, "work")
    first = desktop.await_one("work")
    desktop.say("ActionInvoked", "", ())
    desktop.await_shown(lambda shown: shown and shown[-1].number != first.number)
    assert helper.log_lines == [
        "xensnd-session: notifications: the service breaks the protocol; trying again"
    ]
    assert not [each for each in agent.requests if each["do"] == "answer"]


def test_agent_that_leaves_takes_everything_with_it(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    agent.tell("recording", guests=["work"])
    agent.ask(3, "work")
    desktop.await_shown(lambda shown: len(shown) == 2)
    agent.stop()
    desktop.await_none()
    agent.status = status(guest("web", records=True))
    agent.start()
    desktop.await_one("web")
    agent.ask(1, "mail")
    desktop.await_shown(lambda shown: len(shown) == 2)
    assert [line.split(": ", 2)[2] for line in helper.log_lines] in (
        ["the agent has left; waiting for the agent"],
        [
            "the agent has left; waiting for the agent",
            "No such file or directory; waiting for the agent",
        ],
    )


def test_bus_that_comes_back_shows_what_is_still_wanted(
    bus: SessionBus, agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    agent.tell("recording", guests=["work"])
    agent.ask(3, "work")
    desktop.await_shown(lambda shown: len(shown) == 2)
    bus.stop()
    desktop.stop()
    agent.tell("prompt-gone", id=3, why="no answer")
    agent.ask(4, "web")
    bus.start()
    desktop.start()
    shown = desktop.await_shown(lambda shown: len(shown) == 2)
    (question,) = [each for each in shown if each.actions]
    assert "web" in question.body
    desktop.click(question, "once")
    assert agent.await_request("answer")["id"] == 4
    assert all(": notifications: " in line for line in helper.log_lines)
    assert 1 <= len(helper.log_lines) <= 4


def test_notification_service_that_is_another_shows_it_all_again(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    agent.ask(3, "work")
    desktop.await_one("work")
    desktop.stop()
    assert eventually(lambda: helper.log_lines)
    desktop.start()
    desktop.click(desktop.await_one("work"), "always")
    assert agent.await_request("answer")["answer"] == "always"


def test_service_that_refuses_is_told_once_and_asked_again(
    agent: FakeAgent, desktop: Notifications, helper: SessionHelper
) -> None:
    desktop.refuses = "not\nnow"
    agent.ask(3, "work")
    assert eventually(lambda: helper.log_lines) == [
        "xensnd-session: notifications: not\\nnow; trying again"
    ]
    desktop.refuses = None
    desktop.await_one("work")
    assert len(helper.log_lines) == 1


def test_agent_that_refuses_is_told_once(tmp_path: Path, bus: SessionBus, agent: FakeAgent) -> None:
    agent.refusals["watch"] = "only root may do this"
    helper = SessionHelper(tmp_path, bus.address, agent.path)
    helper.start()
    agent.await_request("watch", 2)
    assert helper.stop() == 0
    assert helper.log_lines == [
        f"xensnd-session: {agent.path}: only root may do this; waiting for the agent"
    ]


def test_without_a_session_it_says_so() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    clean.pop("DBUS_SESSION_BUS_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-m", "agent_session.cli"],
        cwd=ROOT, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "xensnd-session: no session bus; start it in a session, or set DBUS_SESSION_BUS_ADDRESS\n",
    )
