"""A connection with the session bus: calls, their replies, and signals, in the bus's order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jeepney import Message, MessageType
from jeepney.io.asyncio import DBusConnection, open_dbus_connection
from jeepney.low_level import HeaderFields

CALL_SECONDS = 10.0
_REPLIES = (MessageType.method_return, MessageType.error)


class BusTrouble(Exception):
    """What the bus, or whom we called, has said."""


class Bus:
    """`listen` must run for calls to be answered."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._replies: dict[int, Callable[[Message], None]] = {}

    @classmethod
    async def connect(cls) -> Bus:
        """OSError, EOFError or BusTrouble: there is none, or it does not want us."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return cls(await open_dbus_connection("SESSION"))
        except (KeyError, ValueError, RuntimeError) as error:  # no address; not let in
            raise BusTrouble(f"session bus: {error}") from None

    async def close(self) -> None:
        with suppress(OSError):
            await self._connection.close()

    async def listen(self, on_signal: Callable[[Message], None]) -> None:
        """Until the bus goes away: EOFError or OSError."""
        while True:
            message = await self._connection.receive()
            if message.header.message_type is MessageType.signal:
                on_signal(message)
            elif message.header.message_type in _REPLIES:  # the bus lets through what we asked for
                replied = self._replies.pop(field(message, HeaderFields.reply_serial), None)
                if replied is not None:
                    replied(message)

    async def call(
        self, message: Message, on_reply: Callable[[Message], None] = lambda _reply: None
    ) -> tuple[Any, ...]:
        """`on_reply` is called before any signal is that came after the reply."""
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def replied(message: Message) -> None:
            if message.header.message_type is MessageType.method_return:
                on_reply(message)
            if not reply.done():
                reply.set_result(message)

        serial = next(self._connection.outgoing_serial)
        self._replies[serial] = replied
        await self._connection.send(message, serial=serial)
        async with asyncio.timeout(CALL_SECONDS):  # wait_for may lose that we are cancelled
            answer = await reply
        if answer.header.message_type is MessageType.error:
            raise BusTrouble(str(answer.body[0]) if answer.body else "the call failed")
        return tuple(answer.body)

    async def send(self, message: Message) -> None:
        """The reply is not waited for."""
        await self._connection.send(message)


def field(message: Message, name: HeaderFields) -> Any:
    return message.header.fields.get(name)
