"""The command prompt: shows what guests ask for, and sends a person's answers to the agent."""

from __future__ import annotations

import argparse
import select
import sys
import termios
from collections.abc import Mapping
from typing import Any

from policy.cli.status import agent_of
from policy.cli.view import question
from policy.text import values
from xensnd.control.answers import DEFAULT_MINUTES, GIVEN, Answer
from xensnd.control.client import AgentClient
from xensnd.errors import UsageError
from xensnd.text import escaped, quoted

DEFAULT_LENGTH = f"{DEFAULT_MINUTES}m"
_LENGTHS = {Answer.FOR: f" {DEFAULT_LENGTH} (or another time)"}
HINT = ", ".join(f"{answer}{_LENGTHS.get(answer, '')}" for answer in GIVEN)
POLL_SECONDS = 0.1


def prompt(options: argparse.Namespace) -> int:
    with agent_of(options) as agent:
        if options.list:
            _list(agent)
        elif options.id is not None:
            words = [options.answer or "", *options.length]
            arguments = read_answer(words)
            _answer(agent, _find(agent, options.id), arguments)
        elif sys.stdin.isatty() and sys.stdout.isatty():
            _Conversation(agent).hold()
        else:
            raise UsageError(
                "prompt asks on a terminal; elsewhere there are prompt --list and prompt ID ANSWER"
            )
    return 0


def _list(agent: AgentClient) -> None:
    for each in agent.ask("status").get("prompts", []):
        print(question(each))


def _find(agent: AgentClient, number: int) -> Mapping[str, Any]:
    """The question of this number, which no other question has had."""
    for each in agent.ask("status").get("prompts", []):
        if each.get("id") == number:
            return dict(each)
    raise UsageError(f"question {number} is not open: answered already, or too late")


def _answer(agent: AgentClient, asked: Mapping[str, Any], arguments: Mapping[str, object]) -> None:
    """Says which guest and direction were shown, too: the agent compares them."""
    shown_as = {name: asked.get(name) for name in ("id", "guest", "direction")}
    agent.ask("answer", **shown_as, **arguments)
    said = " ".join(str(value) for value in arguments.values())
    print(f"prompt {asked.get('id')}: {said}{' s' if 'seconds' in arguments else ''}")


def read_answer(words: list[str]) -> dict[str, object]:
    """`once`, `for 30m`, `for 90` (seconds), ... as the agent wants it."""
    answer = words[0] if words else ""
    if answer not in GIVEN:
        raise UsageError(f"answer {quoted(answer)} is not one of {HINT}")
    length = [word for word in words[1:] if word]
    if answer != Answer.FOR:
        if length:
            raise UsageError(f"answer {answer} takes no time; say: for {length[0]}")
        return {"answer": answer}
    return {"answer": answer, "seconds": _seconds(" ".join(length) or DEFAULT_LENGTH)}


def _seconds(text: str) -> float:
    try:
        return values.read_duration(text + "s" if text.isdecimal() else text).total_seconds()
    except values.InvalidValue as problem:
        raise UsageError(f"time {quoted(text)} {problem} ({problem.hint})") from None


class _Conversation:
    """Questions as they come, until Ctrl-C or Ctrl-D. One at a time: the oldest first."""

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._waiting: dict[object, Mapping[str, Any]] = {}
        self._asked: object = None

    def hold(self) -> None:
        self._agent.ask("watch")
        for each in self._agent.ask("status").get("prompts", []):
            self._add(each)
        if not self._waiting:
            print("no guest asks; waiting (Ctrl-C ends it)")
        try:
            while True:
                self._ask_next()
                self._hear_agent()
                if select.select([sys.stdin], [], [], 0)[0] and not self._hear_person():
                    return
        except KeyboardInterrupt:
            print()

    def _ask_next(self) -> None:
        if self._asked is None and self._waiting:
            self._asked = next(iter(self._waiting))
            termios.tcflush(sys.stdin, termios.TCIFLUSH)  # typed for the question before
            print(question(self._waiting[self._asked]))
            self._invite()

    def _invite(self) -> None:
        print(f"{HINT}: ", end="", flush=True)

    def _hear_agent(self) -> None:
        event = self._agent.event(POLL_SECONDS)
        if event is None:
            return
        if event.get("event") == "prompt":
            self._add(event.get("prompt"))
        elif event.get("event") == "prompt-gone":
            number = event.get("id")
            if self._waiting.pop(number, None) is not None and self._asked == number:
                print(f"\nprompt {number}: gone ({escaped(event.get('why'))})")
                self._asked = None

    def _add(self, prompt: object) -> None:
        if isinstance(prompt, dict) and isinstance(prompt.get("id"), int):
            self._waiting[prompt["id"]] = prompt

    def _hear_person(self) -> bool:
        line = sys.stdin.readline()
        if not line:
            print()
            return False
        if self._asked is None:
            return True
        try:
            _answer(self._agent, self._waiting[self._asked], read_answer(line.split()))
        except UsageError as problem:
            print(escaped(problem))
            if self._asked in self._waiting:
                self._invite()
            return True
        self._waiting.pop(self._asked)
        self._asked = None
        return True
