"""The commands that ask the agent, against a stand-in for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.cli.main import main
from tests.support.fake_agent import FakeAgent, guest, prompt, status, stream
from xensnd.control.client import AgentClient, NoAgentError
from xensnd.control.messages import LINE_OCTETS_MAX
from xensnd.errors import UsageError


@dataclass(frozen=True)
class Run:
    status: int
    out: str = ""
    err: str = ""


@dataclass(frozen=True)
class Tool:
    control: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Run:
        try:
            ended = main(["--control", str(self.control), *arguments])
        except SystemExit as end:
            ended = end.code if isinstance(end.code, int) else 0
        return Run(ended, *self.capture.readouterr())


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(tmp_path / "control", capsys)


@pytest.fixture
def agent(tool: Tool) -> Iterator[FakeAgent]:
    with FakeAgent(tool.control) as agent:
        agent.status = status(guest("work", stream(), records=True))
        yield agent


@pytest.mark.usefixtures("agent")
def test_status_is_plain_without_a_terminal(tool: Tool) -> None:
    done = tool("status")
    assert done.status == 0
    assert "work: domid 7, records\n" in done.out
    assert "\033" not in done.out


def test_status_as_json_is_the_agents_answer(tool: Tool, agent: FakeAgent) -> None:
    assert json.loads(tool("status", "--json").out) == agent.status


@pytest.mark.usefixtures("agent")
def test_watch_needs_a_terminal(tool: Tool) -> None:
    assert tool("status", "--watch") == Run(
        2,
        err="xensnd-policy: status --watch needs a terminal; for programs there is status --json\n",
    )


def test_names_are_those_of_the_running_guests(tool: Tool, agent: FakeAgent) -> None:
    agent.status = status(guest("work"), guest("two words"), guest("e\033vil"))
    assert tool("status", "--names") == Run(0, "work\ntwo words\n")


@pytest.mark.parametrize(
    ("arguments", "request_", "said"),
    [
        (["mute", "work"], {"do": "mute", "direction": "playback"}, "playback muted"),
        (
            ["unmute", "work", "--direction=capture"],
            {"do": "unmute", "direction": "capture"},
            "capture no longer muted",
        ),
        (
            ["volume", "work", "60%"],
            {"do": "volume", "direction": "playback", "percent": 60.0},
            "playback volume 60%",
        ),
        (
            ["volume", "work", "0"],
            {"do": "volume", "direction": "playback", "percent": 0.0},
            "playback volume 0%",
        ),
    ],
)
def test_change_is_asked_of_the_agent(
    tool: Tool, agent: FakeAgent, arguments: list[str], request_: dict[str, object], said: str
) -> None:
    assert tool(*arguments) == Run(0, f"work: {said} (1 stream now, and later ones)\n")
    assert agent.requests == [{"version": 1, "guest": "work", **request_}]


def test_release_is_asked_of_the_agent(tool: Tool, agent: FakeAgent) -> None:
    assert tool("release", "work") == Run(0, "work: released from quarantine\n")
    assert agent.requests == [{"version": 1, "do": "release", "guest": "work"}]


@pytest.mark.parametrize("percent", ["101%", "nan", "", "loud", "1e1%%", "inf", "+5"])
def test_invalid_volume_is_refused(tool: Tool, percent: str) -> None:
    assert tool("volume", "work", percent) == Run(
        2, err=f"xensnd-policy: volume {percent!r} is not 0% to 100% (write such as 60%)\n"
    )


def test_agents_refusal_is_shown_in_its_words(tool: Tool, agent: FakeAgent) -> None:
    agent.refusals["mute"] = "no guest named 'wrok' runs; running guests: work"
    assert tool("mute", "wrok") == Run(
        2, err="xensnd-policy: no guest named 'wrok' runs; running guests: work\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["mute", "a"], ["volume", "a", "5"], ["prompt", "--list"]],
)
def test_without_an_agent_the_exit_status_is_3(tool: Tool, arguments: list[str]) -> None:
    assert tool(*arguments) == Run(
        3, err=f"xensnd-policy: {tool.control}: no agent listens; is xensnd-dom0 running?\n"
    )


def test_names_are_silent_without_an_agent(tool: Tool) -> None:
    assert tool("status", "--names") == Run(0)


@pytest.mark.usefixtures("agent")
def test_environment_names_the_socket(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSND_CONTROL", str(tool.control))
    assert main(["status", "--names"]) == 0
    assert tool.capture.readouterr().out == "work\n"


# Questions


def test_open_questions_are_listed(tool: Tool, agent: FakeAgent) -> None:
    agent.status = status(prompts=(prompt(3, "work"), prompt(4, "web", "playback")))
    assert tool("prompt", "--list") == Run(
        0,
        "prompt 3: work wants to record, 30 s to answer\n"
        "prompt 4: web wants to play, 30 s to answer\n",
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["once"], {"answer": "once"}),
        (["always"], {"answer": "always"}),
        (["no"], {"answer": "no"}),
        (["never"], {"answer": "never"}),
        (["for"], {"answer": "for", "seconds": 1800.0}),
        (["for", "90"], {"answer": "for", "seconds": 90.0}),
        (["for", "2h"], {"answer": "for", "seconds": 7200.0}),
    ],
)
def test_question_is_answered(
    tool: Tool, agent: FakeAgent, words: list[str], answer: dict[str, object]
) -> None:
    agent.status = status(prompts=(prompt(2, "web"), prompt(3, "work")))
    assert tool("prompt", "3", *words).status == 0
    asked = {"id": 3, "guest": "work", "direction": "capture"}
    assert agent.requests[-1] == {"version": 1, "do": "answer", **asked, **answer}


def test_answer_to_what_is_not_asked_any_more_is_not_sent(tool: Tool, agent: FakeAgent) -> None:
    agent.status = status(prompts=(prompt(4, "work"),))
    problem = "question 3 is not open: answered already, or too late"
    assert tool("prompt", "3", "once") == Run(2, err=f"xensnd-policy: {problem}\n")
    assert [each["do"] for each in agent.requests] == ["status"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["yes"], "answer 'yes' is not one of once, for 30m (or another time), always, no, never"),
        ([], "answer '' is not one of once, for 30m (or another time), always, no, never"),
        (["once", "5"], "answer once takes no time; say: for 5"),
        (["for", "0"], "time '0' is not 1s to 365d (write such as 30m, 2h or 1h30m; the units "
         "are d, h, m and s, in this order)"),
    ],
)  # fmt: skip
def test_invalid_answer_is_refused_before_it_is_sent(
    tool: Tool, agent: FakeAgent, words: list[str], problem: str
) -> None:
    assert tool("prompt", "3", *words) == Run(2, err=f"xensnd-policy: {problem}\n")
    assert agent.requests == []


@pytest.mark.usefixtures("agent")
def test_prompt_needs_a_terminal(tool: Tool) -> None:
    done = tool("prompt")
    assert done.status == 2
    assert "elsewhere there are prompt --list and prompt ID ANSWER" in done.err


# diff


def test_diff_is_of_the_guests_that_run(tool: Tool, agent: FakeAgent, tmp_path: Path) -> None:
    before, after = (
        policy(tmp_path / name, verb) for name, verb in (("a", "deny"), ("b", "allow"))
    )
    arguments = ["--policy", str(before), "diff", str(after)]
    assert tool(*arguments) == Run(
        0,
        f"work: capture deny ({before}/30-user.yaml:3) -> allow ({after}/30-user.yaml:3)\n"
        "1 change for 1 guest (those that run; name others with --guest)\n",
    )
    agent.stop()
    assert tool(*arguments) == Run(
        0, "0 changes for 0 guests (those that rules name; name others with --guest)\n"
    )
    agent.start()


def policy(directory: Path, verb: str) -> Path:
    directory.mkdir(mode=0o755)
    file = directory / "30-user.yaml"
    file.write_text(f"version: 1\nrules:\n  - guest: 'w*'\n    capture: {verb}\n")
    file.chmod(0o644)
    return directory


# The client itself


def test_events_between_a_request_and_its_answer_are_kept(agent: FakeAgent) -> None:
    with AgentClient(agent.path) as client:
        client.ask("watch")
        agent.tell("changed")
        assert client.ask("status")["guests"][0]["name"] == "work"
        assert client.event(10) == {"event": "recording", "guests": ["work"]}
        assert client.event(10) == {"event": "changed"}
        assert client.event(0.01) is None


def test_agent_that_leaves_is_no_agent(agent: FakeAgent) -> None:
    with AgentClient(agent.path) as client:
        client.ask("status")
        agent.hang_up()
        with pytest.raises(NoAgentError, match="it has left"):
            client.event(10)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[]\n", "its line is no JSON object"),
        (b"{\n", "its line is no JSON object"),
        (b"[" * 100_000 + b"\n", "its line is no JSON object"),
        (b"x" * (LINE_OCTETS_MAX + 1), "its line has no end"),
        (b"", "timed out"),
    ],
)
def test_agent_that_says_nonsense_is_no_agent(tmp_path: Path, line: bytes, problem: str) -> None:
    path = tmp_path / "control"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen()
        with AgentClient(path, seconds=5 if line else 0.05) as client:
            peer, _ = listening.accept()
            sending = threading.Thread(target=peer.sendall, args=[line])
            with closing(peer):
                sending.start()
                with pytest.raises(NoAgentError, match=problem):
                    client.ask("status")
                sending.join()


def test_path_that_is_not_a_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoAgentError):
        AgentClient(tmp_path / "file").__enter__()
    with pytest.raises(UsageError, match="path too long"):
        AgentClient(tmp_path / ("x" * 200)).__enter__()
