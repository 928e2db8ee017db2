"""The connections of the stand-in store, their watches, and the events that these fire."""

from __future__ import annotations

from xensnd.localxen.store.nodes import Nodes, StoreConnection, StoreDomain, Watch
from xensnd.localxen.store.tree import (
    Access,
    Accessed,
    Node,
    NodePermission,
    StoreError,
    Transaction,
    View,
    is_valid,
    parent_of,
)
from xensnd.localxen.store.wire import PAYLOAD_MAX

SPECIAL_PATH_MAX = 2048
WATCHES_MAX = 128  # for each unprivileged domain; xenstored_core.c, quota_nb_watch_per_domain


class Watchers:
    def __init__(self, nodes: Nodes) -> None:
        self.connections: list[StoreConnection] = []
        self.special: dict[str, tuple[NodePermission, ...]] = {
            "@introduceDomain": (NodePermission(0, Access.NONE),),
            "@releaseDomain": (NodePermission(0, Access.NONE),),
        }
        self._nodes = nodes

    def add(self, connection: StoreConnection, path: str, token: str) -> None:
        prefix = "" if path.startswith(("/", "@")) else connection.home
        watch = Watch(connection.absolute(path), token, prefix)
        special = path.startswith("@")
        if len(path) > SPECIAL_PATH_MAX if special else not is_valid(watch.path):
            raise StoreError("EINVAL")
        if any((each.path, each.token) == (watch.path, token) for each in connection.watches):
            raise StoreError("EEXIST")
        if connection.unprivileged and self._count(connection.domain) > WATCHES_MAX:
            raise StoreError("E2BIG")
        connection.watches.append(watch)

    def remove(self, connection: StoreConnection, path: str, token: str) -> None:
        for watch in connection.watches:
            if (watch.path, watch.token) == (connection.absolute(path), token):
                connection.watches.remove(watch)
                return
        raise StoreError("ENOENT")

    def _count(self, domain: StoreDomain) -> int:
        return sum(len(each.watches) for each in self.connections if each.domain is domain)

    def fire(
        self,
        view: View,
        path: str,
        *,
        exact: bool = False,
        node: Node | None = None,
        old_permissions: tuple[NodePermission, ...] = (),
    ) -> None:
        """Send an event to the watches on this path and above it; with `exact`, on this path alone.

        `node` is the node if it is about to be removed. In a transaction, the event waits for the
        commit.
        """
        if isinstance(view, Transaction):
            view.fire(path, exact=exact)
            return
        for connection in list(self.connections):
            # Few watch this path, and what each may read takes longer to find out.
            watches = [each for each in connection.watches if each.hears(path, exact=exact)]
            if watches and self._may_hear(connection, path, node, old_permissions):
                for watch in watches:
                    send_event(connection, watch, path)

    def fire_committed(self, path: str, accessed: Accessed) -> None:
        old = accessed.original.permissions if accessed.original else ()
        self.fire(self._nodes.tree, path, exact=accessed.exact, old_permissions=old)

    def fire_special(self, name: str) -> None:
        for connection in list(self.connections):
            if connection.may(self.special[name]) & Access.READ:
                for watch in connection.watches:
                    if watch.hears(name, exact=True):
                        send_event(connection, watch, name)

    def _may_hear(
        self,
        connection: StoreConnection,
        path: str,
        node: Node | None,
        old_permissions: tuple[NodePermission, ...],
    ) -> bool:
        """Return whether the connection may read the node, or could before, or may list its
        parent."""
        if old_permissions and connection.may(old_permissions) & Access.READ:
            return True
        node = node or self._nodes.get(self._nodes.tree, path)
        if not node:
            return False
        if connection.may(node.permissions) & Access.READ:
            return True
        parent = self._nodes.get(self._nodes.tree, parent_of(path))
        return parent is not None and bool(connection.may(parent.permissions) & Access.READ)


def send_event(connection: StoreConnection, watch: Watch, path: str) -> None:
    event = watch.event(path)
    if len(event.payload) <= PAYLOAD_MAX:
        connection.send(event)
