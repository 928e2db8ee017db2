"""The opener's process: it serves one agent, and ends with it."""

from __future__ import annotations

import errno
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pyxs._internal import Op

from agent_dom0.guest import children
from agent_dom0.opener.protocol import REFUSALS, REQUEST_OCTETS_MAX, STORE
from agent_dom0.opener.rules import VsndRules
from xensnd.errors import TransportLost, XensndError
from xensnd.text import quoted
from xensnd.transport.interface import Store, Transport
from xensnd.transport.store_proxy import Rules, StoreProxy

# An agent has one connection, and opens the next one when it is lost.
CONNECTIONS_MAX = 4
_REFUSALS_SHOWN_MAX = 10
# How long what was read about running domains counts.
_DOMAINS_SECONDS = 1.0
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Opener:
    """Serves the agent at the other end of `control`, with a transport of its own."""

    def __init__(
        self,
        control: socket.socket,
        open_transport: Callable[[], Transport],
        make_rules: Callable[[int, Callable[[int], bool]], Rules] = VsndRules,
    ) -> None:
        self._control = control
        self._open_transport = open_transport
        self._make_rules = make_rules
        self._transport: Transport | None = None
        self._proxies: dict[int, StoreProxy] = {}  # by each of their descriptors
        self._refusals = 0

    def run(self) -> None:
        """Serve until the agent has ended, or closed its end."""
        while self._serve():
            pass
        for proxy in set(self._proxies.values()):
            self._end(proxy)
        if self._transport is not None:
            self._domains.close()
            self._transport.close()

    def _serve(self) -> bool:
        """Wait for what comes next, and do it. Returns False if the agent has ended."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        for each in set(self._proxies.values()):
            for fd, events in each.interests().items():
                poll.register(fd, events)
        for fd, events in poll.poll():
            if fd == self._control.fileno():
                if not self._answer():
                    return False
            elif (proxy := self._proxies.get(fd)) and not (
                events & _ENDED == 0 and proxy.follow(fd)
            ):
                self._end(proxy)
        return True

    def _answer(self) -> bool:
        """Answer one request of the agent. Returns False if it has ended."""
        try:
            request = self._control.recv(REQUEST_OCTETS_MAX)
            if not request:
                return False
            try:
                self._do(request.decode("latin-1"))
            except (XensndError, OSError) as error:
                self._refuse(error)
        except ConnectionError:
            return False
        return True

    def _do(self, request: str) -> None:
        if request != STORE:
            raise OSError(errno.EINVAL, "the opener has no such thing")
        if len(set(self._proxies.values())) >= CONNECTIONS_MAX:
            raise OSError(errno.EMFILE, f"more than {CONNECTIONS_MAX} connections to XenStore")
        if self._transport is None:
            self._transport = self._open_transport()
            self._domains = _Domains(self._transport)
        store = self._transport.connect_store()
        rules = self._make_rules(self._transport.domid, self._domains.exists)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        proxy = StoreProxy(ours, store, rules, self._tell_refusal)
        for fd in proxy.interests():
            self._proxies[fd] = proxy
        with theirs:
            self._reply({"payload_octets_max": store.payload_octets_max}, [theirs.fileno()])

    def _end(self, proxy: StoreProxy) -> None:
        for fd in proxy.interests():
            del self._proxies[fd]
        proxy.close()

    def _refuse(self, error: Exception) -> None:
        kinds = (kind for kind, refused in REFUSALS.items() if isinstance(error, refused))
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        number = error.errno if isinstance(error, OSError) else None
        self._reply({"refused": next(kinds), "text": text, "errno": number}, [])

    def _reply(self, reply: dict[str, object], fds: Sequence[int]) -> None:
        socket.send_fds(self._control, [json.dumps(reply).encode()], fds)

    def _tell_refusal(self, op: int, payload: bytes) -> None:
        self._refusals += 1
        if self._refusals > _REFUSALS_SHOWN_MAX:
            return
        name = next((name for name in dir(Op) if getattr(Op, name) == op), str(op))
        path = payload.partition(b"\0")[0].decode("latin-1")
        ends = "; more is not shown" if self._refusals == _REFUSALS_SHOWN_MAX else ""
        print(
            f"xensnd-dom0: refused the agent in XenStore: {name} {quoted(path)}, "
            f"which no agent needs{ends}",
            file=sys.stderr,
            flush=True,
        )


class _Domains:
    """Which domains run, or have a card that is not removed yet.

    An audio domain may not ask. There XenStore itself limits what it may write.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._store: Store | None = None
        self._known: set[int] = set()
        self._read_at = float("-inf")
        self._may_ask = True
        self._read()

    def exists(self, domid: int) -> bool:
        if time.monotonic() > self._read_at + _DOMAINS_SECONDS or domid not in self._known:
            self._read()
        return domid in self._known or not self._may_ask

    def _read(self) -> None:
        try:
            if self._store is None:
                self._store = self._transport.open_store()
            running = children(self._store, "/local/domain")
            backend = f"/local/domain/{self._transport.domid}/backend/vsnd"
            self._known = running | children(self._store, backend)
            self._read_at = time.monotonic()
        except PermissionError:
            self._may_ask = False
        except (TransportLost, OSError):
            self._known = set()
            self.close()

    def close(self) -> None:
        if self._store is not None:
            with suppress(OSError):
                self._store.close()
        self._store = None


def run_opener(control: socket.socket, open_transport: Callable[[], Transport]) -> None:
    """Serve in this process until the agent has ended."""
    Opener(control, open_transport).run()
