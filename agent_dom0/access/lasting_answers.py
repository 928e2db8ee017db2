"""Writes answers of a person that apply for longer than one stream to the policy files."""

from __future__ import annotations

import asyncio
import logging

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompt
from policy.model import Verb
from xensnd.control.answers import Answer
from xensnd.errors import XensndError

log = logging.getLogger("xensnd-dom0")


class LastingAnswers:
    def __init__(self, policy: PolicyState) -> None:
        self._policy = policy
        self._writing: set[asyncio.Task[None]] = set()

    def write(self, prompt: Prompt, answer: Answer, seconds: float) -> None:
        """Write the answer in a thread: another editor may hold the lock."""
        task = asyncio.create_task(self._write(prompt, answer, seconds))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, prompt: Prompt, answer: Answer, seconds: float) -> None:
        policy, guest, direction = self._policy, prompt.guest, prompt.direction
        try:
            if answer is Answer.FOR:
                await asyncio.to_thread(policy.write_grant, guest, direction, seconds)
            else:
                verb = Verb.ALLOW if answer is Answer.ALWAYS else Verb.DENY
                await asyncio.to_thread(policy.write_rule, guest, direction, verb)
        except (XensndError, OSError, MemoryError, RuntimeError) as error:  # no thread, for one
            log.warning(
                "%s: the answer '%s' for %s applies to this stream only: %s",
                guest,
                answer,
                direction,
                error,
            )
        else:
            policy.load()
