"""A pytest plugin for runs inside the lab: tests/contract/test_store.py on the real XenStore.

python3 -m pytest --noconftest -p tests.xen.store_inside tests/contract/test_store.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from xensnd.transport.xen import XENBUS, XENSTORED_SOCKET
from xensnd.transport.xenstore import XenStore

TOUCHED = ("/a", "/b", "/top", "/counter", "/elsewhere", "/local/domain/0/data")


@pytest.fixture(params=["socket", "xenbus"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[], XenStore]]:
    with ExitStack() as stack:

        def connect() -> XenStore:
            if request.param == "socket":
                store = XenStore.over_socket(XENSTORED_SOCKET)
            else:
                store = XenStore.over_xenbus(XENBUS)
            stack.callback(store.close)
            return store

        cleaner = connect()
        for path in TOUCHED:
            cleaner.remove(path)
        yield connect
        for path in TOUCHED:
            cleaner.remove(path)


@pytest.fixture
def store(connect: Callable[[], XenStore]) -> XenStore:
    return connect()


@pytest.fixture
def other_store(connect: Callable[[], XenStore]) -> XenStore:
    return connect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith("test_value_larger_than_a_packet") and "xenbus" in item.name:
            item.add_marker(pytest.mark.skip(reason="the kernel takes 16 octets less"))


@pytest.fixture
def machine() -> None:
    pytest.skip("here the store cannot be killed, and domains are xl's")
