"""An opener as a test runs it: in a thread, with the agent's end for the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Set
from typing import Self

from agent_dom0.opener.client import OpenerTransport
from agent_dom0.opener.lasting import LastingChannels
from agent_dom0.opener.process import Opener
from agent_dom0.opener.reach import Reach
from agent_dom0.opener.rules import VsndRules
from tests.support.local_machine import LocalMachine
from xensnd.transport.interface import Transport
from xensnd.transport.local import LocalReceiver, LocalTransport
from xensnd.transport.store_proxy import Rules
from xensnd.transport.xenstore import XenStore


class RunningOpener:
    """`with RunningOpener(machine) as opener: opener.transport.open_store()`"""

    def __init__(
        self,
        machine: LocalMachine,
        make_rules: Callable[[int, Callable[[int], bool]], Rules] = VsndRules,
        make_reach: Callable[[Transport], Reach] = Reach,
        lasting: LastingChannels | None = None,
    ) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        transport = LocalTransport(machine.directory)  # which the opener closes
        self._own_lasting = LastingChannels(lambda: LocalTransport(machine.directory))
        lasting = lasting or self._own_lasting
        opener = Opener(self._theirs, lambda: transport, lasting, make_rules, make_reach)
        self._thread = threading.Thread(target=opener.run)

    def __enter__(self) -> Self:
        self._thread.start()
        self.transport = OpenerTransport(self._ours, LocalReceiver())
        self.transport.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._own_lasting.close()
        self._theirs.close()


class Anything:
    """Rules that admit all, as if there was no opener."""

    def __init__(self, _domid: int, _exists: Callable[[int], bool]) -> None:
        pass

    def admits(self, _op: int, _payload: bytes) -> bool:
        return True


class AllGuests(Reach):
    """Reaches guests without a card too."""

    def had_rings(self, domid: int) -> bool:
        return self.has_rings(domid)

    def has_rings(self, _domid: int) -> bool:
        return True

    def offers_port(self, _domid: int, _port: int) -> bool:
        return True

    def vchan_refs(self, _domid: int, _port: int) -> Set[int]:
        return set()


class MachineBehindOpener(LocalMachine):
    """Its stores are what an opener passes on, whatever is asked."""

    def start(self) -> None:
        super().start()
        self._opener = self._stack.enter_context(RunningOpener(self, Anything))

    def open_store(self, domain: str | None = None, *, timeout: float = 10) -> XenStore:
        if domain is not None:
            return super().open_store(domain, timeout=timeout)
        return self._kept(self._opener.transport.open_store(timeout=timeout))
