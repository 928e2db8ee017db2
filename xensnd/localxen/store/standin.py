"""A store that answers as Xen 4.17's C xenstored does. It does no I/O: it is called with packets.

The contract tests send the same packets to this store and to Debian's real xenstored. Where they
differ, this one is wrong. Missing: CONTROL, live update, the limits on memory and on the rate of
writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from xensnd.localxen.store.nodes import NODES_MAX, Nodes, StoreConnection, StoreDomain
from xensnd.localxen.store.tree import (
    Access,
    NodePermission,
    StoreError,
    Transaction,
    View,
    parent_of,
)
from xensnd.localxen.store.watches import Watchers, send_event
from xensnd.localxen.store.wire import PAYLOAD_MAX, Op, Packet

DOMID_SELF = 0x7FF0
OK = b"OK\0"
# For each unprivileged domain; xenstored_core.c, quota_max_transaction, quota_nb_perms_per_node.
TRANSACTIONS_MAX = 10
PERMISSIONS_MAX = 5

_LEADING_INTEGER = re.compile(r"[ \t-\r]*([-+]?[0-9]{1,4096})")


@dataclass(frozen=True, slots=True)
class StoreRequest:
    connection: StoreConnection
    view: View
    packet: Packet

    @property
    def strings(self) -> list[str]:
        """The strings of the payload, each ended by a NUL. Octets behind the last NUL are
        ignored."""
        return self.packet.payload.decode("latin-1").split("\0")[:-1]

    @property
    def only_string(self) -> str:
        strings = self.strings
        if len(strings) != 1 or not self.packet.payload.endswith(b"\0"):
            raise StoreError("EINVAL")
        return strings[0]

    @property
    def path(self) -> str:
        return self.connection.absolute(self.only_string)

    def two_strings(self) -> tuple[str, str]:
        strings = self.strings
        if len(strings) != 2:
            raise StoreError("EINVAL")
        return strings[0], strings[1]


class StandInStore:
    def __init__(self, domain_exists: Callable[[int], bool]) -> None:
        self.on_introduced: Callable[[int], None] = lambda _domid: None
        self.on_released: Callable[[int], None] = lambda _domid: None
        self._nodes = Nodes(domain_exists)
        self._watchers = Watchers(self._nodes)

    # Clients

    def connect(self, domid: int, send: Callable[[Packet], None]) -> StoreConnection:
        connection = StoreConnection(self._nodes.domains[domid], send)
        self._watchers.connections.append(connection)
        return connection

    def disconnect(self, connection: StoreConnection) -> None:
        connection.reset()
        if connection in self._watchers.connections:
            self._watchers.connections.remove(connection)

    def handle(self, connection: StoreConnection, packet: Packet) -> None:
        """Handle a request and send the reply. Its events are sent before the reply; the first
        event of a new watch is sent after it.

        Raises nothing, whatever the packet.
        """

        def reply(op: int, payload: bytes) -> None:
            connection.send(Packet(op, payload, packet.request, packet.transaction))

        try:
            payload = self._perform(connection, packet)
            if len(payload) > PAYLOAD_MAX:
                raise StoreError("E2BIG")
        except StoreError as error:
            reply(Op.ERROR, _string(str(error)))
            return
        reply(packet.op, payload)
        if packet.op == Op.WATCH:
            watch = connection.watches[-1]
            send_event(connection, watch, watch.path)

    def _perform(self, connection: StoreConnection, packet: Packet) -> bytes:
        handler = _HANDLERS.get(packet.op)
        if not handler:
            raise StoreError("ENOSYS")
        if packet.op in _PRIVILEGED and connection.unprivileged:
            raise StoreError("EACCES")
        view: View = self._nodes.tree
        if packet.transaction and packet.op not in (Op.WATCH, Op.UNWATCH):
            if packet.transaction not in connection.transactions:
                raise StoreError("ENOENT")
            view = connection.transactions[packet.transaction]
        return handler(self, StoreRequest(connection, view, packet))

    # Nodes

    def directory(self, request: StoreRequest) -> bytes:
        path = request.path
        return self._nodes.permitted(request.connection, request.view, path, Access.READ).directory

    def directory_part(self, request: StoreRequest) -> bytes:
        """Return the generation, then as many names as fit. An empty name follows the last one."""
        name, start = request.two_strings()
        path = request.connection.absolute(name)
        node = self._nodes.permitted(request.connection, request.view, path, Access.READ)
        generation = _string(str(node.generation))
        names = node.directory[_integer(start) :]
        room = PAYLOAD_MAX - len(generation) - 1
        if len(names) > room:
            return generation + names[: names.rindex(b"\0", 0, room) + 1]
        return generation + names + b"\0"

    def read(self, request: StoreRequest) -> bytes:
        path = request.path
        return self._nodes.permitted(request.connection, request.view, path, Access.READ).value

    def write(self, request: StoreRequest) -> bytes:
        name, separator, value = request.packet.payload.partition(b"\0")
        if not separator:
            raise StoreError("EINVAL")
        connection, view = request.connection, request.view
        path = connection.absolute(name.decode("latin-1"))
        node = self._nodes.writable(connection, view, path)
        if node is None:
            self._nodes.create(connection, view, path, value)
        else:
            self._nodes.put(connection, view, path, replace(node, value=value))
        self._watchers.fire(view, path)
        return OK

    def mkdir(self, request: StoreRequest) -> bytes:
        connection, view, path = request.connection, request.view, request.path
        if self._nodes.writable(connection, view, path) is None:
            self._nodes.create(connection, view, path, b"")
            self._watchers.fire(view, path)
        return OK

    def remove(self, request: StoreRequest) -> bytes:
        connection, view, path = request.connection, request.view, request.path
        try:
            self._nodes.permitted(connection, view, path, Access.WRITE)
        except StoreError as error:
            if str(error) == "ENOENT" and self._nodes.get(view, parent_of(path)):
                return OK
            raise
        if path == "/":
            raise StoreError("EINVAL")
        self._remove(view, path)
        return OK

    def _remove(self, view: View, path: str) -> None:
        self._nodes.get(view, parent_of(path))
        for below, node in list(self._nodes.walk(view, path)):
            self._watchers.fire(view, below, exact=below != path, node=node)
            self._nodes.delete(view, below, node)
        self._nodes.forget_child(view, path)

    def get_permissions(self, request: StoreRequest) -> bytes:
        path = request.path
        node = self._nodes.permitted(request.connection, request.view, path, Access.READ)
        return b"".join(_string(str(each)) for each in node.permissions)

    def set_permissions(self, request: StoreRequest) -> bytes:
        connection, view = request.connection, request.view
        if len(request.strings) < 2:
            raise StoreError("EINVAL")
        name, *words = request.strings
        if connection.unprivileged and len(words) > PERMISSIONS_MAX:
            raise StoreError("ENOSPC")
        permissions = tuple(
            [self._known(each) for each in [NodePermission.parse(w) for w in words]]
        )
        if permissions[0].ignored:
            raise StoreError("ENOENT")
        if name.startswith("@"):
            self._set_special_permissions(connection, name, permissions)
            return OK
        path = connection.absolute(name)
        node = self._nodes.permitted(connection, view, path, Access.WRITE | Access.OWNER)
        if connection.unprivileged and permissions[0].domid != node.owner:
            raise StoreError("EPERM")
        self._nodes.put(connection, view, path, replace(node, permissions=permissions))
        self._nodes.count_owned(view, node.owner, -1)
        self._nodes.count_owned(view, permissions[0].domid, 1)
        self._watchers.fire(view, path, old_permissions=node.permissions)
        return OK

    def _set_special_permissions(
        self, connection: StoreConnection, name: str, permissions: tuple[NodePermission, ...]
    ) -> None:
        special = self._watchers.special
        if name not in special:
            raise StoreError("EINVAL")
        if connection.may(special[name]) != Access.ALL:
            raise StoreError("EACCES")
        special[name] = permissions

    def _known(self, permission: NodePermission) -> NodePermission:
        return replace(permission, ignored=self._nodes.domain(permission.domid) is None)

    # Watches

    def watch(self, request: StoreRequest) -> bytes:
        self._watchers.add(request.connection, *request.two_strings())
        return OK

    def unwatch(self, request: StoreRequest) -> bytes:
        self._watchers.remove(request.connection, *request.two_strings())
        return OK

    def reset_watches(self, request: StoreRequest) -> bytes:
        request.connection.reset()
        return OK

    # Transactions

    def start_transaction(self, request: StoreRequest) -> bytes:
        connection = request.connection
        if isinstance(request.view, Transaction):
            raise StoreError("EBUSY")
        if connection.unprivileged and len(connection.transactions) > TRANSACTIONS_MAX:
            raise StoreError("ENOSPC")
        number = connection.next_transaction
        connection.next_transaction += 1
        connection.transactions[number] = Transaction(self._nodes.tree, connection.unprivileged)
        return _string(str(number))

    def end_transaction(self, request: StoreRequest) -> bytes:
        verdict = request.only_string
        if verdict not in ("T", "F"):
            raise StoreError("EINVAL")
        transaction = request.view
        if not isinstance(transaction, Transaction):
            raise StoreError("ENOENT")
        del request.connection.transactions[request.packet.transaction]
        if verdict == "T":
            self._commit(request.connection, transaction)
        return OK

    def _commit(self, connection: StoreConnection, transaction: Transaction) -> None:
        if transaction.failed:
            raise StoreError("ENOMEM")
        if transaction.created and connection.unprivileged:
            for domid, count in transaction.owned.items():
                domain = self._nodes.domain(domid)
                if domid != 0 and domain and domain.nodes + count >= NODES_MAX:
                    raise StoreError("ENOSPC")
        transaction.require_unconflicted()
        for path, accessed in transaction.commit():
            if accessed.fires:
                self._watchers.fire_committed(path, accessed)
        for domid, count in transaction.owned.items():
            self._nodes.count_owned(self._nodes.tree, domid, count)

    # Domains

    def introduce(self, request: StoreRequest) -> bytes:
        strings = request.strings
        if len(strings) < 3 or not 0 < _integer(strings[2]) < 1 << 31:
            raise StoreError("EINVAL")
        domain = self._nodes.domain(_integer(strings[0]))
        if not domain:
            raise StoreError("EINVAL")
        if domain.introduced:
            for each in self._watchers.connections:
                if each.domain is domain and each.unprivileged:
                    each.reset()
        else:
            domain.introduced = True
            self.on_introduced(domain.domid)
            self._watchers.fire_special("@introduceDomain")
        return OK

    def release(self, request: StoreRequest) -> bytes:
        domain = self._introduced(request.only_string)
        for each in [each for each in self._watchers.connections if each.domain is domain]:
            self.disconnect(each)
        self.on_released(domain.domid)
        for path in list(self._nodes.outermost_owned_by(domain.domid)):
            self._remove(self._nodes.tree, path)
        del self._nodes.domains[domain.domid]
        for name, permissions in self._watchers.special.items():
            self._watchers.special[name] = _without(domain.domid, permissions)
        self._watchers.fire_special("@releaseDomain")
        return OK

    def resume(self, request: StoreRequest) -> bytes:
        self._introduced(request.only_string)
        return OK

    def set_target(self, request: StoreRequest) -> bytes:
        if len(request.strings) < 2:
            raise StoreError("EINVAL")
        domain, target = (self._nodes.domains.get(_integer(s)) for s in request.strings[:2])
        if not (domain and domain.introduced and target and target.introduced):
            raise StoreError("ENOENT")
        domain.target = target.domid
        return OK

    def get_domain_path(self, request: StoreRequest) -> bytes:
        return _string(f"/local/domain/{_integer(request.only_string)}")

    def is_domain_introduced(self, request: StoreRequest) -> bytes:
        domid = _integer(request.only_string)
        domain = self._nodes.domains.get(domid)
        return _string("T" if domid == DOMID_SELF or (domain and domain.introduced) else "F")

    def _introduced(self, word: str) -> StoreDomain:
        domid = _integer(word)
        if domid == 0:
            raise StoreError("EINVAL")
        domain = self._nodes.domains.get(domid)
        if not domain or not domain.introduced:
            raise StoreError("ENOENT")
        return domain

    def control(self, _request: StoreRequest) -> bytes:
        raise StoreError("EINVAL")


def _string(text: str) -> bytes:
    return text.encode("latin-1") + b"\0"


def _integer(text: str) -> int:
    """Return the number as C's atoi reads it, as an unsigned int."""
    match = _LEADING_INTEGER.match(text)
    return int(match[1]) & 0xFFFF_FFFF if match else 0


def _without(domid: int, permissions: tuple[NodePermission, ...]) -> tuple[NodePermission, ...]:
    owner, *others = permissions
    if owner.domid == domid:
        owner = replace(owner, domid=0)
    return (owner, *(each for each in others if each.domid != domid))


_PRIVILEGED = {
    Op.CONTROL,
    Op.INTRODUCE,
    Op.RELEASE,
    Op.IS_DOMAIN_INTRODUCED,
    Op.RESUME,
    Op.SET_TARGET,
}
_HANDLERS: dict[int, Callable[[StandInStore, StoreRequest], bytes]] = {
    Op.CONTROL: StandInStore.control,
    Op.DIRECTORY: StandInStore.directory,
    Op.READ: StandInStore.read,
    Op.GET_PERMS: StandInStore.get_permissions,
    Op.WATCH: StandInStore.watch,
    Op.UNWATCH: StandInStore.unwatch,
    Op.TRANSACTION_START: StandInStore.start_transaction,
    Op.TRANSACTION_END: StandInStore.end_transaction,
    Op.INTRODUCE: StandInStore.introduce,
    Op.RELEASE: StandInStore.release,
    Op.GET_DOMAIN_PATH: StandInStore.get_domain_path,
    Op.WRITE: StandInStore.write,
    Op.MKDIR: StandInStore.mkdir,
    Op.RM: StandInStore.remove,
    Op.SET_PERMS: StandInStore.set_permissions,
    Op.IS_DOMAIN_INTRODUCED: StandInStore.is_domain_introduced,
    Op.RESUME: StandInStore.resume,
    Op.SET_TARGET: StandInStore.set_target,
    Op.RESET_WATCHES: StandInStore.reset_watches,
    Op.DIRECTORY_PART: StandInStore.directory_part,
}
