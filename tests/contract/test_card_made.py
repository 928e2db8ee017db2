"""A guest's card in XenStore, as the agent makes it."""

from __future__ import annotations

from collections.abc import Iterator

from agent_dom0.cards.device import DevicePath
from agent_dom0.cards.toolstack import (
    backend_nodes,
    backend_permissions,
    frontend_nodes,
    frontend_permissions,
    make_device,
)
from tests.support.local_machine import LocalMachine
from xensnd.transport.xenstore import XenStore


def everything_below(store: XenStore, directory: str) -> Iterator[str]:
    for name in store.list(directory):
        yield f"{directory}/{name}"
        yield from everything_below(store, f"{directory}/{name}")


def test_guest_may_write_its_half_of_a_card_and_only_read_ours(
    store: XenStore, machine: LocalMachine
) -> None:
    path = DevicePath(0, machine.create("work"), 0)
    store.write(f"{path.frontend}/0/0/left-over", "")  # by dom0, and so not the guest's
    make_device(store, path)
    for directory, nodes, permissions in (
        (path.frontend, frontend_nodes(path), frontend_permissions(path)),
        (path.backend, backend_nodes(path), backend_permissions(path)),
    ):
        assert {name: store.read(f"{directory}/{name}") for name in nodes} == nodes
        for node in (directory, *everything_below(store, directory)):
            assert store.get_permissions(node) == permissions
    assert "left-over" not in store.list(f"{path.frontend}/0/0")
