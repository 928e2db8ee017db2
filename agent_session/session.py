"""Shows the person what the agent tells, and tells the agent what the person answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agent_session import wording
from agent_session.problems import ProblemLog
from agent_session.wording import Notice
from xensnd.backoff import BackOff
from xensnd.control.answers import DEFAULT_MINUTES, Answer
from xensnd.control.client import AsyncAgentClient, Message
from xensnd.text import escaped

log = logging.getLogger("xensnd-session")

RETRY_FIRST_SECONDS = 0.25
RETRY_LAST_SECONDS = 2.0
RECORDING = "recording"
QUARANTINE = "quarantine"


class NoticeDisplay(Protocol):
    """What is needed here of Notifications."""

    def show(self, key: Any, notice: Notice) -> None: ...
    def withdraw(self, key: Any) -> None: ...
    def withdraw_all(self) -> None: ...


class WatchRefused(Exception):
    """The agent refuses to tell us what happens."""


class AgentWatcher:
    """Follows the agent. A prompt is shown under its number, those who record under RECORDING,
    those who are not served under QUARANTINE."""

    def __init__(self, path: Path, display: NoticeDisplay) -> None:
        self._path = path
        self._display = display
        self._problems = ProblemLog()
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._agent: AsyncAgentClient | None = None

    async def run(self) -> None:
        """Runs until it is cancelled, over any number of agents."""
        while True:
            try:
                await self._follow_agent()
            except (OSError, WatchRefused) as error:
                self._problems.report(f"{self._path}: {_error_text(error)}; waiting for the agent")
            except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
                self._problems.report(f"{self._path}: the agent breaks the protocol; trying again")
            await self._back_off.wait()

    async def _follow_agent(self) -> None:
        self._agent = agent = await AsyncAgentClient.connect(self._path)
        try:
            agent.request("watch", self._watched)
            agent.request("status", self._status)
            async for event in agent.events():
                self._handle_event(event)
        finally:
            # Nothing of this is known any more, least of all who records.
            self._display.withdraw_all()
            self._agent = None
            agent.close()

    def _handle_event(self, event: Message) -> None:
        match event["event"]:
            case "prompt":
                self._ask(event["prompt"])
            case "prompt-gone":
                self._display.withdraw(int(event["id"]))
            case "recording":
                self._show_guests(RECORDING, wording.recording, event["guests"])
            case "quarantine":
                self._show_guests(QUARANTINE, wording.quarantine, event["guests"])

    def _watched(self, answer: Message) -> None:
        if not answer["ok"]:
            raise WatchRefused(str(answer.get("error")))
        self._problems.is_solved()
        self._back_off.reset()

    def _status(self, answer: Message) -> None:
        if not answer["ok"]:
            raise WatchRefused(str(answer.get("error")))
        for prompt in answer["prompts"]:
            self._ask(prompt)

    def _ask(self, prompt: Message) -> None:
        number, guest = int(prompt["id"]), str(prompt["guest"])
        direction = str(prompt["direction"])
        notice = wording.question(
            guest,
            int(prompt["domid"]),
            direction,
            float(prompt["seconds"]),
            partial(self._answer, number, guest, direction),
            str(prompt["source"]) if prompt.get("source") else None,
        )
        self._display.show(number, notice)

    def _answer(self, number: int, guest: str, direction: str, action: str | None) -> None:
        """A notification that is closed without an answer means no, as does an unknown action. The
        agent is told what the person saw, and refuses if it asks something else."""
        answer = action if action in dict(wording.ANSWERS) else Answer.NO
        seconds = {"seconds": DEFAULT_MINUTES * 60} if answer == Answer.FOR else {}
        self._display.withdraw(number)
        if self._agent is not None:
            told = partial(self._answered, number)
            shown = {"id": number, "guest": guest, "direction": direction}
            self._agent.request("answer", told, **shown, answer=answer, **seconds)

    def _answered(self, number: int, answer: Message) -> None:
        if not answer["ok"]:
            log.warning("prompt %d: %s", number, _error_text(str(answer.get("error"))))

    def _show_guests(
        self, key: str, notice: Callable[[list[str]], Notice], guests: Iterable[object]
    ) -> None:
        names = [str(guest) for guest in guests]
        if names:
            self._display.show(key, notice(names))
        else:
            self._display.withdraw(key)


def _error_text(problem: object) -> str:
    """Returns what the error says, on one line."""
    text = str(problem) or type(problem).__name__
    if isinstance(problem, OSError) and problem.strerror:
        text = problem.strerror
    return escaped(text)


async def run(path: Path, display: Any) -> None:
    """Follows the agent at `path` until it is cancelled."""
    with suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(display.run())
            tasks.create_task(AgentWatcher(path, display).run())
