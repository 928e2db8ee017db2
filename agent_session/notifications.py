"""Notifications on a desktop: org.freedesktop.Notifications, version 1.2 of the specification.

The notices that are wanted are kept here. Those that are shown follow them: when they change, when
another notification service starts, and when the bus comes back.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from jeepney import DBusAddress, MatchRule, Message, message_bus, new_method_call
from jeepney.low_level import HeaderFields

from agent_session.bus import Bus, BusError, field
from agent_session.problems import ProblemLog
from agent_session.wording import Notice
from xensnd.backoff import BackOff
from xensnd.text import escaped

RETRY_FIRST_SECONDS = 0.25
RETRY_LAST_SECONDS = 2.0
SHOW_AGAIN_SECONDS = 1.0
LAST_REPLIES_SECONDS = 1.0
NAME = "org.freedesktop.Notifications"
SERVICE = DBusAddress("/org/freedesktop/Notifications", NAME, NAME)

_CRITICAL = ("y", 2)  # stays until it is answered
_NEVER_EXPIRES = 0


class CloseReason(IntEnum):
    """Why a notification was closed: the second value of NotificationClosed."""

    EXPIRED = 1
    BY_PERSON = 2


@dataclass(frozen=True, slots=True)
class _Shown:
    """A notice that `service` has shown under its own `number`, which is 0 once it was closed.
    Signals about it count only if `service` has sent them."""

    notice: Notice
    number: int
    service: str


class Notifications:
    """The notices that are wanted, each under a key."""

    def __init__(self) -> None:
        self._wanted: dict[Hashable, Notice] = {}
        self._shown: dict[Hashable, _Shown] = {}
        self._changed = asyncio.Event()
        self._problems = ProblemLog()
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)

    def show(self, key: Hashable, notice: Notice) -> None:
        """Shows the notice in place of any other with this key."""
        self._wanted[key] = notice
        self._changed.set()

    def withdraw(self, key: Hashable) -> None:
        self._wanted.pop(key, None)
        self._changed.set()

    def withdraw_all(self) -> None:
        self._wanted.clear()
        self._changed.set()

    async def run(self) -> None:
        """Runs until it is cancelled. All that is shown is removed then."""
        while True:
            try:
                await self._serve(await Bus.connect())
            except (OSError, EOFError, BusError) as error:
                self._problems.report(f"notifications: {_error_text(error)}; trying again")
            except (LookupError, TypeError, ValueError):
                self._problems.report(
                    "notifications: the service breaks the protocol; trying again"
                )
            await self._back_off.wait()

    async def _serve(self, bus: Bus) -> None:
        """Runs until the first failure, which it raises. Not with a TaskGroup: until Python 3.13,
        one that fails while it is cancelled raises the failure alone."""
        self._shown.clear()
        listening = asyncio.create_task(bus.listen(self._handle_signal))
        updating = asyncio.create_task(self._update(bus))
        try:
            done, _ = await asyncio.wait([listening, updating], return_when=FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancel(updating)
            # What was sent to be shown may be shown before we know the number that closes it.
            answered = asyncio.create_task(bus.await_replies())
            await asyncio.wait(
                [listening, answered], timeout=LAST_REPLIES_SECONDS, return_when=FIRST_COMPLETED
            )
            await _cancel(answered)
            await _cancel(listening)
            with suppress(OSError):
                for shown in self._shown.values():
                    if shown.number:
                        await bus.send(_close(shown.number))
            await bus.close()

    async def _update(self, bus: Bus) -> None:
        signals = MatchRule(type="signal", sender=NAME, interface=NAME)
        owner = MatchRule(
            type="signal", sender=message_bus.bus_name, interface=message_bus.interface,
            member="NameOwnerChanged",
        )  # fmt: skip
        owner.add_arg_condition(0, NAME)
        for rule in (signals, owner):
            await bus.call(message_bus.AddMatch(rule))
        while True:
            self._changed.clear()
            for key, shown in list(self._shown.items()):
                if key not in self._wanted:
                    del self._shown[key]
                    if shown.number:
                        await bus.call(_close(shown.number))
            for key, notice in list(self._wanted.items()):
                if key not in self._shown or self._shown[key].notice != notice:
                    await self._notify(bus, key, notice)
            self._problems.is_solved()
            self._back_off.reset()
            await self._changed.wait()

    async def _notify(self, bus: Bus, key: Hashable, notice: Notice) -> None:
        before = self._shown.get(key)

        def is_shown(reply: Message) -> None:
            service = field(reply, HeaderFields.sender)
            self._shown[key] = _Shown(notice, int(reply.body[0]), service)

        await bus.call(_notification(notice, before.number if before else 0), is_shown)

    def _handle_signal(self, signal: Message) -> None:
        """Any program on the bus can send us a signal. The bus says who has sent it."""
        sender = field(signal, HeaderFields.sender)
        member = field(signal, HeaderFields.member)
        if sender == message_bus.bus_name and member == "NameOwnerChanged":
            self._drop_notices_of(signal.body[1])
            return
        for key, shown in list(self._shown.items()):
            if not shown.number or shown.service != sender or shown.number != signal.body[0]:
                continue
            if member == "ActionInvoked":
                self._answered(key, shown, signal.body[1])
            elif member == "NotificationClosed":
                self._closed(key, shown, signal.body[1])

    def _drop_notices_of(self, service: str) -> None:
        """Forget the notifications of a service that has gone."""
        for key, shown in list(self._shown.items()):
            if shown.service == service:
                del self._shown[key]
        self._changed.set()

    def _closed(self, key: Hashable, shown: _Shown, reason: int) -> None:
        self._shown[key] = _Shown(shown.notice, 0, shown.service)
        if reason == CloseReason.EXPIRED:  # although we asked for none that expires
            asyncio.get_running_loop().call_later(SHOW_AGAIN_SECONDS, self._show_again, key)
        elif reason == CloseReason.BY_PERSON:
            self._answered(key, shown, None)

    def _show_again(self, key: Hashable) -> None:
        if key in self._shown and not self._shown[key].number:
            del self._shown[key]
            self._changed.set()

    def _answered(self, key: Hashable, shown: _Shown, action: str | None) -> None:
        wanted = self._wanted.get(key)
        if wanted == shown.notice:  # else it was replaced meanwhile
            wanted.answered(action)


def _notification(notice: Notice, replaces: int) -> Message:
    actions = [text for action in notice.actions for text in action]
    hints = {"urgency": _CRITICAL, "resident": ("b", True), "category": ("s", "device")}
    return new_method_call(
        SERVICE,
        "Notify",
        "susssasa{sv}i",
        (
            "xensnd",
            replaces,
            notice.icon,
            notice.summary,
            notice.body,
            actions,
            hints,
            _NEVER_EXPIRES,
        ),
    )


def _close(number: int) -> Message:
    return new_method_call(SERVICE, "CloseNotification", "u", (number,))


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancels a task, and waits until it has ended in whatever way."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # else asyncio warns that it was never retrieved


def _error_text(error: Exception) -> str:
    """Returns what the error says, on one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or "the session bus has left"
    return escaped(text)
