"""What the agent tells, shown to the person; what the person answers, told to the agent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agent_session import wording
from agent_session.trouble import Troubles
from agent_session.wording import Notice
from xensnd.control.client import LINE_OCTETS_MAX, VERSION

log = logging.getLogger("xensnd-session")

RETRY_SECONDS = 1.0
RECORDING = "recording"

Message = Mapping[str, Any]


class Shows(Protocol):
    """NotificationService, as far as it is needed here."""

    def show(self, key: Any, notice: Notice) -> None: ...
    def withdraw(self, key: Any) -> None: ...
    def withdraw_all(self) -> None: ...


class NotWatching(Exception):
    """The agent does not let us look."""


class SessionHelper:
    """A prompt is shown under its number, who records under RECORDING."""

    def __init__(self, path: Path, desktop: Shows) -> None:
        self._path = path
        self._desktop = desktop
        self._troubles = Troubles()
        self._writer: asyncio.StreamWriter | None = None
        self._answers: list[Callable[[Message], None]] = []  # to our requests, in their order

    async def run(self) -> None:
        """For ever: the agent may come and go."""
        while True:
            try:
                await self._follow_agent()
            except (OSError, NotWatching) as error:
                self._troubles.tell(f"{self._path}: {_said(error)}; waiting for the agent")
            except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
                self._troubles.tell(f"{self._path}: the agent does not speak as it should; waiting")
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_agent(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LINE_OCTETS_MAX)
        self._writer, self._answers = writer, []
        try:
            self._request(self._watched, do="watch")
            self._request(self._status, do="status")
            while line := await reader.readline():
                self._hear(json.loads(line))
            raise ConnectionResetError("the agent has left")
        finally:
            # What was known is not true any more, least of all who records.
            self._desktop.withdraw_all()
            self._writer = None
            writer.transport.abort()

    def _request(self, answered: Callable[[Message], None], **request: object) -> None:
        if self._writer is None:
            return
        self._answers.append(answered)
        self._writer.write(json.dumps({"version": VERSION, **request}).encode() + b"\n")

    def _hear(self, message: Message) -> None:
        if "ok" in message:
            if not self._answers:
                raise ValueError("an answer to nothing")
            self._answers.pop(0)(message)
            return
        match message["event"]:
            case "prompt":
                self._ask(message["prompt"])
            case "prompt-gone":
                self._desktop.withdraw(int(message["id"]))
            case "recording":
                self._show_recording([str(guest) for guest in message["guests"]])

    def _watched(self, answer: Message) -> None:
        if not answer["ok"]:
            raise NotWatching(str(answer.get("error")))
        self._troubles.are_over()

    def _status(self, answer: Message) -> None:
        if not answer["ok"]:
            raise NotWatching(str(answer.get("error")))
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
        )
        self._desktop.show(number, notice)

    def _answer(self, number: int, guest: str, direction: str, action: str | None) -> None:
        """Closed without an answer is no; so is an action that we did not offer. The agent is told
        what the person saw, and refuses if it asks something else."""
        answer = action if action in dict(wording.ANSWERS) else "no"
        seconds = {"seconds": wording.FOR_SECONDS} if answer == "for" else {}
        self._desktop.withdraw(number)
        told = partial(self._answered, number)
        shown = {"id": number, "guest": guest, "direction": direction}
        self._request(told, do="answer", **shown, answer=answer, **seconds)

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
    return "".join(each if each.isprintable() else " " for each in text)


async def run(path: Path, desktop: Any) -> None:
    """Until it is cancelled."""
    with suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desktop.run())
            tasks.create_task(SessionHelper(path, desktop).run())
