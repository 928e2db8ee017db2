"""The nodes as connections may see and change them: domains, permissions, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from xensnd.localxen.store.tree import (
    Access,
    Node,
    NodePermission,
    StoreError,
    Transaction,
    Tree,
    View,
    child_of,
    is_below,
    is_valid,
    name_of,
    parent_of,
)
from xensnd.localxen.store.wire import Op, Packet

# For each unprivileged domain; xenstored_core.c, quota_nb_entry_per_domain, quota_max_entry_size.
NODES_MAX = 1000
NODE_OCTETS_MAX = 2048


@dataclass(slots=True, eq=False)
class StoreDomain:
    """A domain that the store knows. Only an introduced one may connect."""

    domid: int
    born: int  # generation; permissions in older nodes are for an earlier domain of this number
    introduced: bool = False
    nodes: int = 0
    target: int | None = None  # the domain whose rights this one has as well


@dataclass(frozen=True, slots=True)
class Watch:
    path: str
    token: str
    prefix: str  # what an event's path leaves out, for a watch on a relative path

    def hears(self, path: str, *, exact: bool) -> bool:
        return path == self.path if exact else is_below(path, self.path)

    def event(self, path: str) -> Packet:
        shown = path.removeprefix(self.prefix).removeprefix("/") if self.prefix else path
        return Packet(Op.WATCH_EVENT, f"{shown}\0{self.token}\0".encode("latin-1"))


@dataclass(slots=True, eq=False)
class StoreConnection:
    """One client. A domain may have several here; on Xen its kernel shares a single one."""

    domain: StoreDomain
    send: Callable[[Packet], None]
    watches: list[Watch] = field(default_factory=list)
    transactions: dict[int, Transaction] = field(default_factory=dict)
    next_transaction: int = 1

    @property
    def unprivileged(self) -> bool:
        return self.domain.domid != 0

    @property
    def home(self) -> str:
        return f"/local/domain/{self.domain.domid}"

    def absolute(self, path: str) -> str:
        return path if path.startswith(("/", "@")) else f"{self.home}/{path}"

    def may(self, permissions: tuple[NodePermission, ...]) -> Access:
        """Return what the connection may do. The first entry names the owner, and says what domains
        that no other entry names may do."""
        identities = (self.domain.domid, self.domain.target)
        if not self.unprivileged or permissions[0].domid in identities:
            return Access.ALL
        for entry in permissions[1:]:
            if entry.domid in identities and not entry.ignored:
                return entry.access
        return permissions[0].access

    def reset(self) -> None:
        self.watches.clear()
        self.transactions.clear()


class Nodes:
    """The tree, behind its permissions and quotas."""

    def __init__(self, domain_exists: Callable[[int], bool]) -> None:
        self.tree = Tree()
        self.domains = {0: StoreDomain(0, 0, introduced=True, nodes=3)}
        self._domain_exists = domain_exists

    def domain(self, domid: int) -> StoreDomain | None:
        """Return the domain, which the store knows from now on. None: it does not exist."""
        if domid not in self.domains and self._domain_exists(domid):
            self.domains[domid] = StoreDomain(domid, self.tree.generation)
        return self.domains.get(domid)

    def get(self, view: View, path: str) -> Node | None:
        node = view.get(path)
        if node and len(node.permissions) > 1:
            others = tuple(
                replace(entry, ignored=entry.ignored or self._outlived(entry, node))
                for entry in node.permissions[1:]
            )
            node = replace(node, permissions=(node.permissions[0], *others))
        return node

    def _outlived(self, permission: NodePermission, node: Node) -> bool:
        domain = self.domains.get(permission.domid)
        return not domain or domain.born > node.generation

    def permitted(self, connection: StoreConnection, view: View, path: str, wanted: Access) -> Node:
        """Return the node. StoreError: it is missing, or the connection may not have it; the error
        tells nothing of nodes that the connection may not read."""
        if not is_valid(path):
            raise StoreError("EINVAL")
        node = self.get(view, path)
        if node and connection.may(node.permissions) & wanted == wanted:
            return node
        above = parent_of(path)
        while not (parent := self.get(view, above)):
            above = parent_of(above)
        known = connection.may(parent.permissions) & wanted
        raise StoreError("ENOENT" if known and not node else "EACCES")

    def writable(self, connection: StoreConnection, view: View, path: str) -> Node | None:
        """Return the node; None: it does not exist, and the connection may create it."""
        try:
            return self.permitted(connection, view, path, Access.WRITE)
        except StoreError as error:
            if str(error) == "ENOENT":
                return None
            raise

    def put(self, connection: StoreConnection, view: View, path: str, node: Node) -> None:
        if connection.unprivileged and node.stored_octets >= NODE_OCTETS_MAX:
            _fail(view)
            raise StoreError("ENOSPC")
        view.put(path, replace(node, generation=self.tree.next_generation()))

    def create(self, connection: StoreConnection, view: View, path: str, value: bytes) -> None:
        """Create a node and its missing parents. Each has its parent's permissions, but is owned by
        the creator's domain."""
        missing = [path]
        while not (above := self.get(view, parent_of(missing[-1]))):
            missing.append(parent_of(missing[-1]))
        permissions = above.permissions
        if connection.unprivileged:
            permissions = (replace(permissions[0], domid=connection.domain.domid), *permissions[1:])
        changed = {name: Node(permissions) for name in missing}
        changed[path] = replace(changed[path], value=value)
        changed[parent_of(missing[-1])] = above
        for name in missing:
            parent = changed[parent_of(name)]
            children = (*parent.children, name_of(name))
            changed[parent_of(name)] = replace(parent, children=children)
        if connection.unprivileged:
            _require_quota(connection.domain, view, changed, len(missing))
        if isinstance(view, Transaction):
            view.created = True
        for name, node in changed.items():
            self.put(connection, view, name, node)
        self.count_owned(view, permissions[0].domid, len(missing))

    def delete(self, view: View, path: str, node: Node) -> None:
        view.delete(path)
        self.count_owned(view, node.owner, -1)

    def forget_child(self, view: View, path: str) -> None:
        parent = self.get(view, parent_of(path))
        if parent:
            children = tuple(name for name in parent.children if name != name_of(path))
            generation = self.tree.next_generation()
            view.put(parent_of(path), replace(parent, children=children, generation=generation))

    def walk(self, view: View, top: str) -> Iterator[tuple[str, Node]]:
        """Yield the node and all below it, children first. Each is read before its children."""
        pending: list[tuple[str, Node | None]] = [(top, None)]
        while pending:
            path, done = pending.pop()
            if done:
                yield path, done
            elif node := self.get(view, path):
                pending.append((path, node))
                pending.extend((child_of(path, name), None) for name in reversed(node.children))

    def outermost_owned_by(self, domid: int) -> Iterator[str]:
        """Yield the paths of this domain's nodes that are not below another of its nodes."""
        pending = ["/"]
        while pending:
            path = pending.pop()
            node = self.tree.get(path)
            if node and node.owner == domid:
                yield path
            elif node:
                pending.extend(child_of(path, name) for name in reversed(node.children))

    def count_owned(self, view: View, domid: int, count: int) -> None:
        if isinstance(view, Transaction):
            view.owned[domid] += count
        elif domain := self.domain(domid):
            domain.nodes += count


def _require_quota(domain: StoreDomain, view: View, nodes: dict[str, Node], created: int) -> None:
    too_big = any(node.stored_octets >= NODE_OCTETS_MAX for node in nodes.values())
    counted = 1 if isinstance(view, Transaction) else created  # its commit counts the others
    if too_big:
        _fail(view)
    if too_big or domain.nodes + counted > NODES_MAX:
        raise StoreError("ENOSPC")


def _fail(view: View) -> None:
    if isinstance(view, Transaction):
        view.failed = True
