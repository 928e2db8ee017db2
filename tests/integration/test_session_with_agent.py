"""A guest asks to record, the person clicks: all of it real but the person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.asking import goes_live
from tests.support.desktop import Notification, Notifications, SessionBus, SessionHelper
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from tests.support.terminal import OnTerminal

ROOT = Path(__file__).parents[2]
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: ask\n'


@pytest.fixture
def desktop(tmp_path: Path, dom0: Dom0) -> Iterator[Notifications]:
    """With xensnd-session in its session."""
    with SessionBus(tmp_path) as bus, Notifications(bus.address) as desktop:
        helper = SessionHelper(tmp_path, bus.address, dom0.control)
        helper.start()
        yield desktop
        assert helper.stop() == 0


@pytest.fixture(autouse=True)
def microphone(pulse: PulseServer) -> Iterator[None]:
    with pulse.microphone(noise(30)):
        yield


def tool(dom0: Dom0, *arguments: str) -> str:
    done = dom0.policy(f"--control={dom0.control}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def await_question(desktop: Notifications, guest: Guest) -> Notification:
    def asked(shown: list[Notification]) -> list[Notification]:
        return [each for each in shown if each.actions and guest.name in each.body]

    (question,) = asked(desktop.await_shown(asked))
    return question


def test_click_lets_a_guest_record_and_shows_that_it_does(
    dom0: Dom0, work: Guest, desktop: Notifications
) -> None:
    with work.start("record", "-", "--seconds=30") as recording:
        question = await_question(desktop, work)
        status = json.loads(tool(dom0, "status", "--json"))
        assert [each["guest"] for each in status["prompts"]] == ["work"]
        assert not any(each["records"] for each in status["guests"])
        assert not bytes(recording.heard).strip(b"\0")

        desktop.click(question, "once")
        assert goes_live(recording)
        shown = desktop.await_one("“work” hears the microphone")
        assert not shown.actions
        assert "work: domid" in tool(dom0, "status")
        assert eventually(lambda: ", records\n" in tool(dom0, "status"))
        assert tool(dom0, "status", "--names") == "work\n"
        with OnTerminal(
            [
                sys.executable,
                "-m",
                "policy.cli.main",
                f"--control={dom0.control}",
                "status",
                "--watch",
            ]
        ) as watching:
            watching.await_text("● REC")
            watching.await_text("● recording now: work")
            recording.process.terminate()
            recording.ended()
            watching.await_text("nobody records")
            assert watching.interrupt() == 0
    desktop.await_none()
    assert "work: capture allow" in tool(dom0, "log", "--file", str(dom0.audit_file))


def test_answer_in_a_terminal_withdraws_the_notification(
    dom0: Dom0, new_guest: Callable[[str], Guest], desktop: Notifications
) -> None:
    mail = new_guest("mail")
    with mail.start("record", "-", "--seconds=30") as recording:
        await_question(desktop, mail)
        (line,) = tool(dom0, "prompt", "--list").splitlines()
        number = line.split()[1].rstrip(":")
        assert tool(dom0, "prompt", number, "for", "10m") == f"prompt {number}: for 600.0 s\n"
        assert goes_live(recording)
        desktop.await_one("“mail” hears the microphone")
        assert "mail: capture deny" in tool(dom0, "deny-capture", "mail")
        desktop.await_none()
        assert "mail: playback volume 60%" in tool(dom0, "volume", "mail", "60%")
        assert "mail: playback muted" in tool(dom0, "mute", "mail")
        recording.process.terminate()
        recording.ended()
