"""Notifications on a desktop: org.freedesktop.Notifications, version 1.2 of the specification.

What is wanted is kept here, and what is shown is made to follow: when it changes, when the
notification service is another one, when the bus comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from jeepney import DBusAddress, MatchRule, Message, message_bus, new_method_call
from jeepney.low_level import HeaderFields

from agent_session.bus import Bus, BusTrouble, field
from agent_session.trouble import Troubles
from agent_session.wording import Notice

RETRY_SECONDS = 1.0
NAME = "org.freedesktop.Notifications"
SERVICE = DBusAddress("/org/freedesktop/Notifications", NAME, NAME)

_CRITICAL = ("y", 2)  # stays until it is answered
_NEVER_EXPIRES = 0


class Closed(IntEnum):
    """Why: the second value of NotificationClosed."""

    EXPIRED = 1
    BY_PERSON = 2


@dataclass(frozen=True, slots=True)
class _Shown:
    """`number` is the service's, 0 if it is closed; signals about it count from `service` alone."""

    notice: Notice
    number: int
    service: str


class NotificationService:
    def __init__(self) -> None:
        self._wanted: dict[Hashable, Notice] = {}
        self._shown: dict[Hashable, _Shown] = {}
        self._changed = asyncio.Event()
        self._troubles = Troubles()

    def show(self, key: Hashable, notice: Notice) -> None:
        """Another notice of this key is replaced."""
        self._wanted[key] = notice
        self._changed.set()

    def withdraw(self, key: Hashable) -> None:
        self._wanted.pop(key, None)
        self._changed.set()

    def withdraw_all(self) -> None:
        self._wanted.clear()
        self._changed.set()

    async def run(self) -> None:
        """For ever; what is shown goes with it."""
        while True:
            try:
                await self._serve(await Bus.connect())
            except* (OSError, EOFError, BusTrouble) as group:
                self._troubles.tell(f"notifications: {_said(group)}; waiting")
            except* (LookupError, TypeError, ValueError):
                self._troubles.tell(
                    "notifications: the service does not speak as it should; waiting"
                )
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self, bus: Bus) -> None:
        self._shown.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(bus.listen(self._hear))
                tasks.create_task(self._follow(bus))
        finally:
            with suppress(OSError):
                for shown in self._shown.values():
                    if shown.number:
                        await bus.send(_close(shown.number))
            await bus.close()

    async def _follow(self, bus: Bus) -> None:
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
            self._troubles.are_over()
            await self._changed.wait()

    async def _notify(self, bus: Bus, key: Hashable, notice: Notice) -> None:
        before = self._shown.get(key)

        def is_shown(reply: Message) -> None:
            service = field(reply, HeaderFields.sender)
            self._shown[key] = _Shown(notice, int(reply.body[0]), service)

        await bus.call(_notification(notice, before.number if before else 0), is_shown)

    def _hear(self, signal: Message) -> None:
        """Anybody on the bus can send us a signal; the bus says who has."""
        sender = field(signal, HeaderFields.sender)
        member = field(signal, HeaderFields.member)
        if sender == message_bus.bus_name and member == "NameOwnerChanged":
            self._forget_service(signal.body[1])
            return
        for key, shown in list(self._shown.items()):
            if not shown.number or shown.service != sender or shown.number != signal.body[0]:
                continue
            if member == "ActionInvoked":
                self._answered(key, shown, signal.body[1])
            elif member == "NotificationClosed":
                self._closed(key, shown, signal.body[1])

    def _forget_service(self, service: str) -> None:
        """It took with it what it has shown."""
        for key, shown in list(self._shown.items()):
            if shown.service == service:
                del self._shown[key]
        self._changed.set()

    def _closed(self, key: Hashable, shown: _Shown, reason: int) -> None:
        self._shown[key] = _Shown(shown.notice, 0, shown.service)
        if reason == Closed.EXPIRED:  # it should not: whatever is wanted has to be seen
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._show_again, key)
        elif reason == Closed.BY_PERSON:
            self._answered(key, shown, None)

    def _show_again(self, key: Hashable) -> None:
        if key in self._shown and not self._shown[key].number:
            del self._shown[key]
            self._changed.set()

    def _answered(self, key: Hashable, shown: _Shown, action: str | None) -> None:
        wanted = self._wanted.get(key)
        if wanted == shown.notice:  # else the person has answered what is not asked any more
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


def _said(group: BaseExceptionGroup[BaseException]) -> str:
    """What the first of them says, on one line."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or "the session bus has left"
    return "".join(each if each.isprintable() else " " for each in text)
