"""Guests that come and go, one after the other, without an end: `python -m bench.comers URL`. Each
connects its card, opens a stream and starts it, and is destroyed.
"""

from __future__ import annotations

import sys
from contextlib import closing
from itertools import count

from tests.hostile.acts import START
from tests.support.raw_frontend import RawFrontend, eventually
from xensnd.errors import RemoteProtocolError
from xensnd.localxen import toolstack
from xensnd.transport.interface import Store
from xensnd.transport.local import LocalTransport


def main(url: str) -> None:
    directory = url.removeprefix("local:")
    with closing(LocalTransport(directory)) as dom0:
        for number in count():
            name = f"comer{number}"
            toolstack.create(dom0, name)
            with (
                closing(LocalTransport(directory, name)) as transport,
                closing(transport.open_store()) as store,
            ):
                assert eventually(lambda: _backend(store)), "the guest has no card"
                stream = RawFrontend(transport, store, _backend(store)).connect()
                stream.ask(stream.good_open())
                stream.ask(START)
            toolstack.destroy(dom0, name)


def _backend(store: Store) -> str:
    try:
        return store.read("device/vsnd/0/backend")
    except (KeyError, RemoteProtocolError):
        return ""


if __name__ == "__main__":
    main(sys.argv[1])
