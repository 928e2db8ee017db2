"""A guest's process that breaks the rules as it is told: raw_frontend.py over peer.py."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from tests.support.peer import serve
from tests.support.raw_frontend import RawFrontend, eventually
from tests.support.shared_pages import REQ_PROD_OFFSET
from xensnd.sndif.states import XenbusState
from xensnd.transport.interface import Store
from xensnd.transport.xen import XenTransport

DEVICE = "device/vsnd/0"


class Evil:
    def __init__(self) -> None:
        transport = XenTransport()
        self._store = transport.open_store()
        self._frontend = RawFrontend(transport, self._store, self._store.read(f"{DEVICE}/backend"))

    def offer_rings(self) -> None:
        self._frontend.offer_rings()

    def read(self, node: str) -> str:
        return self._frontend.read(node)

    def write(self, nodes: dict[str, str]) -> None:
        self._frontend.write(nodes)

    def take_out(self, node: str) -> dict[str, str]:
        """All that was there and below, for write() to put back."""
        taken = _tree(self._store, f"{DEVICE}/{node}")
        self._store.remove(f"{DEVICE}/{node}")
        return {path.removeprefix(f"{DEVICE}/"): value for path, value in taken.items()}

    def enter(self, state: int) -> None:
        self._frontend.enter(XenbusState(state))

    def backend_becomes(self, state: int) -> bool:
        return bool(eventually(lambda: self._frontend.backend_state() == state))

    def opens(self) -> int:
        """As it should be done, from the handshake to OPEN: the status of that."""
        stream = self._frontend.connect()
        return stream.ask(stream.good_open())

    def opens_without_pages(self) -> int:
        stream = self._frontend.connect()
        return stream.ask(replace(stream.good_open(), directory_ref=4711))

    def runs_beyond_the_ring(self) -> None:
        stream = self._frontend.connect()
        stream.ring[REQ_PROD_OFFSET // 4] = 1000
        stream.requests.notify()


def _tree(store: Store, path: str) -> dict[str, str]:
    nodes: dict[str, str] = {}
    with suppress(KeyError):
        nodes[path] = store.read(path)
        for name in store.list(path):
            nodes |= _tree(store, f"{path}/{name}")
    return nodes


if __name__ == "__main__":
    serve(Evil())
