"""What the agent tells, shown to the person; what the person answers, told to the agent."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agent_session import wording
from agent_session.trouble import Troubles
from agent_session.wording import Notice
from xensnd.backoff import BackOff
from xensnd.control.answers import DEFAULT_MINUTES, Answer
from xensnd.control.client import AsyncAgentClient, Message
from xensnd.text import escaped

log = logging.getLogger("xensnd-session")

RETRY_FIRST_SECONDS = 0.25
RETRY_LAST_SECONDS = 2.0
RECORDING = "recording"


class Shows(Protocol):
    """Desktop, as far as it is needed here."""

    def show(self, key: Any, notice: Notice) -> None: ...
    def withdraw(self, key: Any) -> None: ...
    def withdraw_all(self) -> None: ...


class AgentRefused(Exception):
    """The agent does not let us look."""


class Session:
    """A prompt is shown under its number, who records under RECORDING."""

    def __init__(self, path: Path, desktop: Shows) -> None:
        self._path = path
        self._desktop = desktop
        self._troubles = Troubles()
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._agent: AsyncAgentClient | None = None

    async def run(self) -> None:
        """For ever: the agent may come and go."""
        while True:
            try:
                await self._follow_agent()
            except (OSError, AgentRefused) as error:
                self._troubles.tell(f"{self._path}: {_said(error)}; waiting for the agent")
            except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
                self._troubles.tell(f"{self._path}: the agent does not speak as it should; waiting")
            await self._back_off.wait()

    async def _follow_agent(self) -> None:
        self._agent = agent = await AsyncAgentClient.connect(self._path)
        try:
            agent.request("watch", self._watched)
            agent.request("status", self._status)
            async for event in agent.events():
                self._hear(event)
        finally:
            # What was known is not true any more, least of all who records.
            self._desktop.withdraw_all()
            self._agent = None
            agent.close()

    def _hear(self, event: Message) -> None:
        match event["event"]:
            case "prompt":
                self._ask(event["prompt"])
            case "prompt-gone":
                self._desktop.withdraw(int(event["id"]))
            case "recording":
                self._show_recording([str(guest) for guest in event["guests"]])

    def _watched(self, answer: Message) -> None:
        if not answer["ok"]:
            raise AgentRefused(str(answer.get("error")))
        self._troubles.are_over()
        self._back_off.reset()

    def _status(self, answer: Message) -> None:
        if not answer["ok"]:
            raise AgentRefused(str(answer.get("error")))
        for prompt in answer["prompts"]:
            self._ask(prompt)

    def _ask(self, prompt: Message) -> None:
        number = int(prompt["id"])
        notice = wording.question(
            str(prompt["guest"]),
            int(prompt["domid"]),
            str(prompt["direction"]),
            float(prompt["seconds"]),
            partial(self._answer, number),
        )
        self._desktop.show(number, notice)

    def _answer(self, number: int, action: str | None) -> None:
        """Closed without an answer is no; so is an action that we did not offer."""
        answer = action if action in dict(wording.ANSWERS) else Answer.NO
        seconds = {"seconds": DEFAULT_MINUTES * 60} if answer == Answer.FOR else {}
        self._desktop.withdraw(number)
        if self._agent is not None:
            told = partial(self._answered, number)
            self._agent.request("answer", told, id=number, answer=answer, **seconds)

    def _answered(self, number: int, answer: Message) -> None:
        if not answer["ok"]:
            log.warning("prompt %d: %s", number, _said(str(answer.get("error"))))

    def _show_recording(self, guests: list[str]) -> None:
        if guests:
            self._desktop.show(RECORDING, wording.recording(guests))
        else:
            self._desktop.withdraw(RECORDING)


def _said(problem: object) -> str:
    """On one line."""
    text = str(problem) or type(problem).__name__
    if isinstance(problem, OSError) and problem.strerror:
        text = problem.strerror
    return escaped(text)


async def run(path: Path, desktop: Any) -> None:
    """Until it is cancelled."""
    with suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desktop.run())
            tasks.create_task(Session(path, desktop).run())
