"""The opener's process: it serves one agent after the other, and keeps nothing of the last one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import select
import socket
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from pyxs._internal import Op

from agent_dom0.hire import TAKES_OVER
from agent_dom0.opener.lasting import LastingChannels
from agent_dom0.opener.protocol import (
    BIND,
    BIND_LASTING,
    CARD,
    END,
    END_LASTING,
    HELLO,
    MAP,
    REFUSALS,
    REQUEST_OCTETS_MAX,
    STORE,
)
from agent_dom0.opener.reach import Reach
from agent_dom0.opener.rules import VsndRules
from xensnd.errors import RemoteProtocolError, XensndError
from xensnd.sndif.untrusted import U32_MAX
from xensnd.text import quoted
from xensnd.transport.interface import HANDED_PAGES_MAX, Handed, Transport
from xensnd.transport.store_proxy import Rules, StoreProxy

NAME = "xensnd-opener"  # as ps(1) shows it
_PR_SET_NAME = 15

# An agent has one connection, and opens the next one when it is lost.
CONNECTIONS_MAX = 4
_REFUSALS_SHOWN_MAX = 10
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Opener:
    """Serves the agent at the other end of `control`, with a transport of its own. `lasting` are
    the channels that outlive it."""

    def __init__(
        self,
        control: socket.socket,
        open_transport: Callable[[], Transport],
        lasting: LastingChannels,
        make_rules: Callable[[int, Callable[[int], bool]], Rules] = VsndRules,
        make_reach: Callable[[Transport], Reach] = Reach,
    ) -> None:
        self._control = control
        self._open_transport = open_transport
        self._lasting = lasting
        self._make_rules = make_rules
        self._make_reach = make_reach
        self._opened: tuple[Transport, Reach] | None = None
        self._proxies: dict[int, StoreProxy] = {}  # by each of their descriptors
        self._refusals = 0

    def run(self) -> None:
        """Serve until the agent has ended, or closed its end."""
        with contextlib.suppress(XensndError, OSError):
            self._open()  # if that fails, the agent hears of it at its first request
        goes_on = self._serve()
        if goes_on:
            with contextlib.suppress(XensndError, OSError):
                self._reach.read_all()  # while the agent starts, which will ask for it
        while goes_on:
            goes_on = self._serve()
        for proxy in set(self._proxies.values()):
            self._end(proxy)
        if self._opened is not None:
            for opened in self._opened:
                opened.close()

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
                handed = self._do(request)
            except (XensndError, OSError) as error:
                self._refuse(error)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self._refuse(OSError(errno.EINVAL, f"not a request: {error!r}"))
            else:
                with contextlib.closing(handed):
                    self._reply(handed.layout, handed.fds)
        except ConnectionError:
            return False
        return True

    def _do(self, request: bytes) -> Handed:
        untrusted = json.loads(request)
        operations: Mapping[object, Callable[[Any], Handed]] = {
            HELLO: self._greet,
            CARD: self._tell_card,
            STORE: self._open_store,
            MAP: self._hand_pages,
            BIND: self._hand_channel,
            END: self._end_channel,
            BIND_LASTING: self._hand_lasting_channel,
            END_LASTING: self._end_lasting_channel,
        }
        return operations[untrusted["op"]](untrusted)

    def _greet(self, _untrusted: Any) -> Handed:
        runtime = str(self._transport.runtime_directory)
        return Handed([], {"domid": self._transport.domid, "runtime": runtime})

    def _tell_card(self, untrusted: Any) -> Handed:
        domid, devid = _number(untrusted["domid"]), _number(untrusted["devid"])
        return Handed([], {"nodes": self._reach.recent_card(domid, devid)})

    def _hand_pages(self, untrusted: Any) -> Handed:
        refs = untrusted["refs"]
        if not isinstance(refs, list) or not 0 < len(refs) <= HANDED_PAGES_MAX:
            raise ValueError("references")
        domid, refs = _number(untrusted["domid"]), [_number(ref) for ref in refs]
        if not self._may_map(domid, set(refs)):
            raise RemoteProtocolError(
                f"dom{domid} has no card that it uses, and no vchan of sound with these pages"
            )
        return self._transport.hand_pages(domid, refs)

    def _may_map(self, domid: int, refs: Set[int]) -> bool:
        """The pages of a card are not known: they stand in the guest's memory. Those of a vchan
        are."""
        return (
            self._lasting.has_pages(domid, refs)
            or self._reach.had_rings(domid)
            or self._reach.offers_pages(domid, refs)
            or self._reach.has_rings(domid)
        )

    def _hand_channel(self, untrusted: Any) -> Handed:
        domid, port = _number(untrusted["domid"]), _number(untrusted["port"])
        if not self._reach.offers_port(domid, port):
            raise RemoteProtocolError(f"dom{domid} publishes no event channel {port}")
        return self._transport.hand_channel(domid, port)

    def _end_channel(self, untrusted: Any) -> Handed:
        self._transport.end_channel(_number(untrusted["port"]))
        return Handed([], {})

    def _hand_lasting_channel(self, untrusted: Any) -> Handed:
        domid, port = _number(untrusted["domid"]), _number(untrusted["port"])
        if not self._lasting.has(domid, port):
            refs = self._reach.vchan_refs(domid, port)
            if refs is None:
                raise RemoteProtocolError(f"dom{domid} offers no vchan of sound on {port}")
            self._lasting.bind(domid, port, refs)
        return self._lasting.hand(domid, port)

    def _end_lasting_channel(self, untrusted: Any) -> Handed:
        self._lasting.end(_number(untrusted["domid"]), _number(untrusted["port"]))
        return Handed([], {})

    def _open_store(self, _untrusted: Any) -> Handed:
        if len(set(self._proxies.values())) >= CONNECTIONS_MAX:
            raise OSError(errno.EMFILE, f"more than {CONNECTIONS_MAX} connections to XenStore")
        store = self._transport.connect_store()
        rules = self._make_rules(self._transport.domid, self._reach.exists)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        proxy = StoreProxy(ours, store, rules, self._tell_refusal)
        for fd in proxy.interests():
            self._proxies[fd] = proxy
        return Handed([theirs.detach()], {"payload_octets_max": store.payload_octets_max})

    @property
    def _transport(self) -> Transport:
        return self._open()[0]

    @property
    def _reach(self) -> Reach:
        return self._open()[1]

    def _open(self) -> tuple[Transport, Reach]:
        if self._opened is None:
            transport = self._open_transport()
            self._opened = transport, self._make_reach(transport)
        return self._opened

    def _end(self, proxy: StoreProxy) -> None:
        for fd in proxy.interests():
            del self._proxies[fd]
        proxy.close()

    def _refuse(self, error: Exception) -> None:
        kinds = (kind for kind, refused in REFUSALS.items() if isinstance(error, refused))
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        self._reply({"refused": next(kinds, "failed"), "text": text, "errno": number}, [])

    def _reply(self, reply: Mapping[str, object], fds: Sequence[int]) -> None:
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


def _number(untrusted: object) -> int:
    if not isinstance(untrusted, int) or not 0 <= untrusted <= U32_MAX:
        raise ValueError(f"not a number of 32 bits: {untrusted!r:.40}")
    return untrusted


def run_opener(
    hire: socket.socket,
    open_transport: Callable[[], Transport],
    predecessor: socket.socket | None = None,
) -> None:
    """Serve each agent whose socket comes on `hire`, until that is closed. What was opened for an
    agent is closed before the next one is served, except for the channels that last. These come
    from the `predecessor`, if there is one, and go to the opener whose socket comes on `hire`."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME.encode())
    with contextlib.closing(LastingChannels(open_transport)) as lasting:
        if predecessor is not None:
            with predecessor:
                lasting.inherit(predecessor)
        while True:
            what, fds, _, _ = socket.recv_fds(hire, 1, 1)
            if not fds:
                return
            with socket.socket(fileno=fds[0]) as other:
                if what == TAKES_OVER:
                    lasting.hand_over(other)
                    return
                Opener(other, open_transport, lasting).run()
