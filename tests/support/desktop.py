"""A desktop for tests: a real session bus, and a notification service whose person is the test."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, Message, message_bus, new_error, new_method_return, new_signal
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection
from jeepney.low_level import HeaderFields, MessageType

from tests.support.daemon import Daemon, Startable

ROOT = Path(__file__).parents[2]
NAME = "org.freedesktop.Notifications"
OBJECT = DBusAddress("/org/freedesktop/Notifications", NAME, NAME)
CLOSED_BY_EXPIRY, CLOSED_BY_PERSON, CLOSED_BY_CALL = 1, 2, 3

CONFIGURATION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class SessionBus(Daemon):
    """A dbus-daemon that starts no services, and comes back at the same address."""

    def __init__(self, directory: Path) -> None:
        super().__init__("dbus-daemon")
        self.address = f"unix:path={directory}/bus"
        self._configuration = directory / "session.conf"
        self._configuration.write_text(CONFIGURATION.format(address=self.address).lstrip())

    def start(self) -> None:
        self.launch_until_notified(
            ["dbus-daemon", f"--config-file={self._configuration}", "--nofork"]
        )


class SessionHelper(Daemon):
    """xensnd-session."""

    def __init__(self, directory: Path, address: str, control: Path) -> None:
        super().__init__("xensnd-session", directory / "session.log")
        self._command = [sys.executable, "-m", "agent_session.cli", "--control", str(control)]
        self._environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address}

    def start(self) -> None:
        """It notifies nobody: what it shows tells that it is there."""
        self.launch(self._command, environment=self._environment, cwd=ROOT)


@dataclass(frozen=True, slots=True)
class Notification:
    number: int
    replaces: int
    summary: str
    body: str
    actions: tuple[str, ...]
    hints: dict[str, Any]
    expires_ms: int


class Notifications(Startable):
    """The service. `shown` is what a person sees now."""

    def __init__(self, address: str) -> None:
        self.shown: dict[int, Notification] = {}
        self.refuses: str | None = None
        self.before_reply: Callable[[], None] = lambda: None  # once a notification is shown
        self._address = address
        self._numbers = count(1)
        self._changed = threading.Condition()

    def start(self) -> None:
        self._connection = open_dbus_connection(bus=self._address)
        Proxy(message_bus, self._connection).RequestName(NAME)
        self._thread = threading.Thread(target=self._serve, args=[self._connection])
        self._thread.start()

    def stop(self) -> None:
        """It takes with it what it has shown."""
        with suppress(OSError):
            self._connection.sock.shutdown(2)
        self._thread.join()
        self._connection.close()
        self.shown.clear()

    # The person

    def await_shown(
        self, condition: Callable[[list[Notification]], Any], seconds: float = 10
    ) -> list[Notification]:
        """What is shown, once the condition holds of it."""
        with self._changed:
            found = self._changed.wait_for(lambda: condition(self._now()), seconds)
            assert found, f"shown are {self._now()}"
            return self._now()

    def await_one(self, text: str) -> Notification:
        """The only one there is, once it says this."""
        (found,) = self.await_shown(lambda shown: len(shown) == 1 and text in shown[0].body)
        return found

    def await_none(self) -> None:
        self.await_shown(lambda shown: not shown)

    def click(self, notification: Notification, action: str) -> None:
        self.say("ActionInvoked", "us", (notification.number, action))
        self.close(notification)

    def close(self, notification: Notification, reason: int = CLOSED_BY_PERSON) -> None:
        with self._changed:
            if self.shown.pop(notification.number, None):
                self.say("NotificationClosed", "uu", (notification.number, reason))
            self._changed.notify_all()

    def _now(self) -> list[Notification]:
        return list(self.shown.values())

    # The bus

    def say(self, member: str, signature: str, body: tuple[Any, ...]) -> None:
        """A signal."""
        self._connection.send(new_signal(OBJECT, member, signature, body))

    def _serve(self, connection: DBusConnection) -> None:
        with suppress(OSError, EOFError):
            while True:
                message = connection.receive()
                if message.header.message_type is MessageType.method_call:
                    with self._changed:
                        self._answer(connection, message)
                        self._changed.notify_all()
        with self._changed:
            self.shown.clear()

    def _answer(self, connection: DBusConnection, message: Message) -> None:
        member = message.header.fields[HeaderFields.member]
        if self.refuses is not None:
            connection.send(new_error(message, "org.example.No", "s", (self.refuses,)))
        elif member == "Notify":
            _, replaces, _, summary, body, actions, hints, expires = message.body
            number = replaces or next(self._numbers)
            plain = {name: value for name, (_, value) in hints.items()}
            self.shown[number] = Notification(
                number, replaces, summary, body, tuple(actions), plain, expires
            )
            self.before_reply()
            connection.send(new_method_return(message, "u", (number,)))
        elif member == "CloseNotification":
            (number,) = message.body
            connection.send(new_method_return(message))
            if self.shown.pop(number, None):
                self.say("NotificationClosed", "uu", (number, CLOSED_BY_CALL))
