"""The session helper's side of the control socket, with an agent that may say anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path

import pytest

from agent_session import session
from agent_session.session import QUARANTINE, RECORDING, AgentWatcher
from agent_session.wording import Notice
from tests.support.fake_agent import prompt, status

NONSENSE = [
    b"\xff\xfe\n",
    b"[]\n",
    b"5\n",
    b"null\n",
    b"{}\n",
    b'{"ok": true}\n' * 3,
    b'{"event": "prompt"}\n',
    b'{"event": "prompt", "prompt": {"id": 1e999}}\n',
    b'{"event": "prompt-gone", "id": []}\n',
    b'{"event": "recording", "guests": 5}\n',
    b'{"event": "quarantine", "guests": 5}\n',
    b"[" * 100_000 + b"\n",
    b"x" * (1 << 21),
]


class Shown:
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.now: dict[Hashable, Notice] = {}
        self.cleared = asyncio.Event()

    def show(self, key: Hashable, notice: Notice) -> None:
        self.now[key] = notice

    def withdraw(self, key: Hashable) -> None:
        self.now.pop(key, None)

    def withdraw_all(self) -> None:
        self.now.clear()
        self.cleared.set()


class Agent:
    """Says one thing to whoever comes, and leaves when told."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self.came = 0
        self.came_again = asyncio.Event()
        self.may_leave = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        if self.came == 2:
            self.came_again.set()
        with suppress(OSError):
            await reader.readline()
            writer.write(self._says)
            await writer.drain()
            await self.may_leave.wait()
        writer.close()


def run(path: Path, says: bytes, is_to_leave: bool) -> Shown:
    """Until the helper has come back; what was shown when it left the first time."""

    async def main() -> Shown:
        shown, agent = Shown(), Agent(says)
        server = await asyncio.start_unix_server(agent.serve, path)
        task = asyncio.create_task(AgentWatcher(path, shown).run())
        if is_to_leave:
            agent.may_leave.set()
        async with asyncio.timeout(10):
            await shown.cleared.wait()
            await agent.came_again.wait()
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        agent.may_leave.set()
        server.close()
        return shown

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RETRY_FIRST_SECONDS", 0.01)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_agent_that_says_nonsense_is_left_and_tried_again(
    tmp_path: Path, nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "control", nonsense, is_to_leave=False)
    assert caplog.messages[0].endswith(": the agent breaks the protocol; trying again")


def test_nothing_is_shown_without_an_agent(tmp_path: Path) -> None:
    lines: list[object] = [
        {"ok": True},
        {"event": "recording", "guests": ["work"]},
        {"event": "quarantine", "guests": ["evil"]},
        {"ok": True, **status(prompts=(prompt(3, "work"),))},
        {"event": "something new"},
    ]
    says = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    shown = run(tmp_path / "control", says, is_to_leave=True)
    assert RECORDING not in shown.now
    assert QUARANTINE not in shown.now
    assert 3 not in shown.now


def test_guests_in_quarantine_are_shown_until_none_is(tmp_path: Path) -> None:
    watcher = AgentWatcher(tmp_path / "control", shown := Shown())
    watcher._handle_event({"event": "quarantine", "guests": ["evil"]})
    assert "“evil”" in shown.now[QUARANTINE].body
    watcher._handle_event({"event": "quarantine", "guests": []})
    assert QUARANTINE not in shown.now
