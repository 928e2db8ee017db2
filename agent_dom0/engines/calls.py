"""The agent's end of a guest's engine in a process of its own.

What a guest could make that process do is bounded here: how long the agent waits for it in a reply,
and in all, and what a reply may be.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from agent_dom0.engines.interface import EngineLate, EngineLost
from agent_dom0.engines.protocol import FAILURES, FDS_MAX, MESSAGE_OCTETS_MAX
from agent_dom0.engines.replies import Nonsense
from agent_dom0.engines.zygote import Child, Zygote
from xensnd.text import escaped

SENT_SECONDS_MAX = 1.0
# So long may a reply take for which somebody has waited, or for which nobody has.
REPLY_SECONDS_MAX = 1.0
PROBED_SECONDS_MAX = 3.0
# The agent does not wait longer than this in PERIOD_SECONDS, for all replies together.
WAITED_SECONDS_MAX = 2.0
PERIOD_SECONDS = 10.0
_TEXT_CHARACTERS_MAX = 200
# What a reply leads to that is none.
_NONSENSE = (ValueError, KeyError, TypeError, RecursionError)

T = TypeVar("T")


class EngineCalls:
    """Raises EngineLost once the process has ended, has not answered in time, or has said what it
    cannot say. `why` says which.

    The caller waits for `patience_seconds` at most. EngineLate: the reply has not come by then, and
    until it comes, no other call is made. What was asked may be done or not, so when the reply
    comes, the process is ended, and another one takes over what it serves. If that takes longer
    than REPLY_SECONDS_MAX, end_late() is to be called: `on_late` is told.

    Who looks in haste, `until` a time of time.monotonic(), learns nothing if the reply has not come
    by then. That is no fault. It is the same at once for all who are in haste until it comes.
    """

    def __init__(
        self,
        zygote: Zygote,
        child: Child,
        patience_seconds: float = REPLY_SECONDS_MAX,
    ) -> None:
        self._zygote = zygote
        self.patience_seconds = patience_seconds
        self._child = child
        self._control = self._child.control
        self._control.settimeout(SENT_SECONDS_MAX)
        self._calls = 0
        self._waited, self._period_began = 0.0, time.monotonic()
        self._open: deque[int] = deque()  # the calls for whose replies nobody waits, or no longer
        self._asked_at = 0.0  # the last of them
        self.is_late = False  # with a reply for which somebody has waited
        self._is_looked_at = False  # in haste, and the reply has not come
        self.on_late: Callable[[], object] = _do_nothing
        self._is_out_of_step = False  # whether a call may be done or not
        self.is_at_fault = True  # if it was ended
        self.why: str | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable when follow() has something to do."""
        return self._control.fileno()

    @property
    def wake_fd(self) -> int:
        """A descriptor that is readable when the core needs a decision."""
        return self._child.wake_fd

    @property
    def end_fd(self) -> int:
        """A descriptor that is readable when the process has ended. Until then it may still serve
        its guest."""
        return self._child.pidfd

    @property
    def is_lost(self) -> bool:
        return self.why is not None

    def call(
        self, check: Callable[[object], T], do: str, fds: Sequence[int] = (), /, **arguments: object
    ) -> T:
        """Return the result as `check` does, which raises ValueError for what it cannot be. Raises
        what the engine says, EngineLate or EngineLost."""
        try:
            return self._call(check, do, fds, arguments, None)
        except EngineLate:
            self._is_out_of_step = True
            raise

    def wait_for_at_most(self, seconds: float) -> None:
        """From now on, callers wait so long for a reply."""
        self.patience_seconds = seconds

    def look(
        self,
        check: Callable[[object], T],
        do: str,
        until: float | None = None,
        /,
        **arguments: object,
    ) -> T:
        """The same for what changes nothing in the process: it goes on after it was late."""
        return self._call(check, do, (), arguments, until)

    def _call(
        self,
        check: Callable[[object], T],
        do: str,
        fds: Sequence[int],
        arguments: dict[str, object],
        until: float | None,
    ) -> T:
        if self.why is not None:
            raise EngineLost(errno.EIO, f"its engine: {self.why}")
        if self.is_late or (until is not None and self._is_looked_at):
            raise EngineLate(errno.EIO, "its engine is late")
        number = self._send(do, fds, arguments)
        began = time.monotonic()
        try:
            reply = self._await(number, began + self.patience_seconds if until is None else until)
            failure = _failure(reply) if "failed" in reply else None
            result = check(reply["is"]) if failure is None else None
        except TimeoutError:
            self._note_late(number, began, is_in_haste=until is not None)
            raise EngineLate(errno.EIO, "its engine is late") from None
        except (OSError, *_NONSENSE) as error:
            self._lose_by(error)
            raise EngineLost(errno.EIO, f"its engine: {self.why}") from error
        self._charge(time.monotonic() - began)
        if failure is not None:
            raise failure
        return cast(T, result)

    def _note_late(self, number: int, asked_at: float, *, is_in_haste: bool) -> None:
        if is_in_haste:
            self._asked_at = self._asked_at if self._open else asked_at
            self._is_looked_at = True
        else:
            self._asked_at, self.is_late = asked_at, True
            self.on_late()
        self._open.append(number)
        self._charge(time.monotonic() - asked_at)

    def probe(self) -> None:
        """Ask whether it responds, and do not wait for the answer. An earlier question must be
        answered by PROBED_SECONDS_MAX."""
        now = time.monotonic()
        if not self._open:
            self._asked_at = now
            with suppress(EngineLost):
                self._open.append(self._send("snapshot", (), {}))
        elif now > self._asked_at + PROBED_SECONDS_MAX:
            self.lose("it does not respond")

    def end_late(self) -> None:
        """End the process if it still has to answer a question of REPLY_SECONDS_MAX ago."""
        if self.is_late and time.monotonic() >= self._asked_at + REPLY_SECONDS_MAX:
            self.lose("it does not respond")

    def follow(self) -> None:
        """Read what has come without a call: the end, or a reply for which nobody waits."""
        if self.is_lost or not _is_readable(self._control.fileno(), 0):
            return  # a call has read it meanwhile
        try:
            self._note_reply(self._receive())
        except (OSError, *_NONSENSE) as error:
            self._lose_by(error)

    def lose(self, why: str) -> None:
        """End the process. Nothing more passes from it."""
        if self.why is None:
            self.why = escaped(why, _TEXT_CHARACTERS_MAX)
            self._zygote.kill(self._child)
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the process."""
        self.lose("it was ended")
        self._child.close()

    def _send(self, do: str, fds: Sequence[int], arguments: dict[str, object]) -> int:
        self._calls += 1
        message = json.dumps({"n": self._calls, "do": do, **arguments}).encode()
        try:
            if fds:
                socket.send_fds(self._control, [message], fds)
            else:
                self._control.send(message)
        except OSError as error:
            self.lose("it has ended")
            raise EngineLost(errno.EIO, f"its engine: {self.why}") from error
        return self._calls

    def _await(self, number: int, until: float) -> dict[str, Any]:
        """Return the reply to this call. Raises TimeoutError."""
        while True:
            if not _is_readable(self._control.fileno(), max(until - time.monotonic(), 0)):
                raise TimeoutError
            reply = self._receive()
            if reply["n"] == number:
                return reply
            self._note_reply(reply)

    def _receive(self) -> dict[str, Any]:
        octets, fds, _, _ = socket.recv_fds(self._control, MESSAGE_OCTETS_MAX, FDS_MAX)
        for fd in fds:
            os.close(fd)
        if not octets:
            raise ConnectionError("it has ended")
        reply = json.loads(octets)
        if not isinstance(reply, dict):
            raise Nonsense
        return reply

    def _note_reply(self, reply: dict[str, Any]) -> None:
        """Note a reply for which nobody waits. They come in order, and a late one is the last."""
        if not self._open or reply["n"] != self._open[0]:
            raise Nonsense
        self._open.popleft()
        self.is_late = self.is_late and bool(self._open)
        self._is_looked_at = self._is_looked_at and bool(self._open)
        if self._is_out_of_step and not self.is_late:
            self.is_at_fault = False
            self.lose("it was late")

    def _lose_by(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.lose(error.strerror or str(error))
        else:
            self.lose("it says what an engine does not say")

    def _charge(self, seconds: float) -> None:
        now = time.monotonic()
        if now > self._period_began + PERIOD_SECONDS:
            self._waited, self._period_began = 0.0, now
        self._waited += seconds
        if self._waited > WAITED_SECONDS_MAX:
            self.lose("it responds too slowly")


def _do_nothing() -> None:
    pass


def _is_readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _failure(reply: dict[str, Any]) -> Exception:
    kind = FAILURES.get(str(reply["failed"]), OSError)
    text, number = escaped(str(reply.get("text")), _TEXT_CHARACTERS_MAX), reply.get("errno")
    if kind is OSError:
        return OSError(number if isinstance(number, int) else errno.EIO, text)
    return kind(text)
