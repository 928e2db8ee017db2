"""A connection with the session bus: calls, their replies and signals, in the order of the bus."""

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


class BusError(Exception):
    """The bus, or the service that was called, reports an error."""


class Bus:
    """Calls are answered while listen() runs."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._replies: dict[int, Callable[[Message], None]] = {}
        self._all_have_come = asyncio.Event()
        self._all_have_come.set()

    @classmethod
    async def connect(cls) -> Bus:
        """Returns a connection. OSError, EOFError, BusError: there is no bus, or it refuses us."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return cls(await open_dbus_connection("SESSION"))
        except (KeyError, ValueError, RuntimeError) as error:  # no address, or refused
            raise BusError(f"session bus: {error}") from None

    async def close(self) -> None:
        with suppress(OSError):
            await self._connection.close()

    async def listen(self, on_signal: Callable[[Message], None]) -> None:
        """Delivers replies and signals until the bus has gone: EOFError or OSError."""
        while True:
            message = await self._connection.receive()
            if message.header.message_type is MessageType.signal:
                on_signal(message)
            elif (
                message.header.message_type in _REPLIES
            ):  # the bus delivers only replies to our calls
                replied = self._replies.pop(field(message, HeaderFields.reply_serial), None)
                if replied is not None:
                    replied(message)
                if not self._replies:
                    self._all_have_come.set()

    async def call(
        self, message: Message, on_reply: Callable[[Message], None] = lambda _reply: None
    ) -> tuple[Any, ...]:
        """Returns the body of the reply. BusError: the reply is an error. `on_reply` gets the
        reply before any later signal is delivered."""
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def replied(message: Message) -> None:
            if message.header.message_type is MessageType.method_return:
                on_reply(message)
            if not reply.done():
                reply.set_result(message)

        serial = next(self._connection.outgoing_serial)
        self._replies[serial] = replied
        self._all_have_come.clear()
        await self._connection.send(message, serial=serial)
        async with asyncio.timeout(CALL_SECONDS):  # wait_for() may swallow a cancellation
            answer = await reply
        if answer.header.message_type is MessageType.error:
            raise BusError(str(answer.body[0]) if answer.body else "the call failed")
        return tuple(answer.body)

    async def await_replies(self) -> None:
        """Returns once no call waits for its reply, also none whose caller was cancelled."""
        await self._all_have_come.wait()

    async def send(self, message: Message) -> None:
        """Sends a message without waiting for a reply."""
        await self._connection.send(message)


def field(message: Message, name: HeaderFields) -> Any:
    """Returns a field of the header, or None."""
    return message.header.fields.get(name)
