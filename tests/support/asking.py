"""Guests that record, and the questions whether they may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.agents import SECOND_OCTETS, Dom0, Guest, Running
from xensnd.control.client import AgentClient

ASK = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: ask\n'


@contextmanager
def recording(guest: Guest) -> Iterator[Running]:
    with guest.start("record", "-", "--seconds=30") as running:
        yield running
        running.process.terminate()  # so that it closes its stream
        running.ended()


def question_of(dom0: Dom0, guest: Guest, count: int = 1) -> int:
    shown = dom0.await_event("prompt_shown", guest=guest.name, count=count)
    return int(shown["XENSND_PROMPT"])


def answer(dom0: Dom0, guest: Guest, question: int, said: str, **more: object) -> None:
    """To a question about recording."""
    dom0.ask("answer", id=question, guest=guest.name, direction="capture", answer=said, **more)


def goes_live(running: Running) -> bool:
    arrived = len(running.heard)
    heard = running.listen_until(lambda heard: heard[arrived:].strip(b"\0"), 5)
    return bool(heard[arrived:].strip(b"\0"))


def stays_silent(running: Running) -> bool:
    arrived = len(running.heard)
    heard = running.listen_until(lambda heard: len(heard) > arrived + SECOND_OCTETS // 2)
    return len(heard) > arrived and not heard[arrived:].strip(b"\0")


def falls_silent(running: Running) -> bool:
    heard = running.listen_until(lambda heard: not heard[-SECOND_OCTETS // 5 :].strip(b"\0"), 8)
    return not heard[-SECOND_OCTETS // 5 :].strip(b"\0")


def next_event(agent: AgentClient, kind: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        event = agent.event(1)
        if event is not None and event.get("event") == kind:
            return event
    raise AssertionError(f"no {kind}")
