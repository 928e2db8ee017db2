"""The stand-in for the hypervisor: domains, grants and event channels.

transport/local/protocol.py describes its requests and replies. When a connection ends, so does all
that it created, as Xen ends what a domain had. All memory and all eventfds are created here, so
that no client can give another one memory that shrinks or a descriptor that blocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from xensnd.text import quoted
from xensnd.transport.local.memory import Page, create_pages
from xensnd.transport.local.protocol import REFS_IN_A_REQUEST_MAX, VERSION

GRANTS_OF_A_DOMAIN_MAX = 32768  # as Xen's default: 64 frames of 512
SHARES_OF_A_DOMAIN_MAX = 512
CHANNELS_OF_A_DOMAIN_MAX = 512
CHANNELS_OF_DOMAIN_0_MAX = 4096  # which has one for each of all guests
NAME_MAX = 64

RefusalKind = Literal["peer", "usage", "client", "limit"]


class RequestRefused(Exception):
    """A request that fails. `kind` says why: the fault of the peer domain, of the person (`usage`)
    or of this client, or a limit that is reached."""

    def __init__(self, kind: RefusalKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(eq=False)
class Share:
    """A run of pages that one domain grants to another."""

    owner: ClientSession
    peer: int
    fd: int
    refs: range


@dataclass(eq=False)
class Channel:
    """An event channel: two eventfds. Its allocator waits on the first, its binder on the
    second."""

    owner: ClientSession
    peer: int
    port: int
    fds: tuple[int, int]
    binder: ClientSession | None = None
    binder_port: int = 0

    def is_bound_end(self, domain: Domain, port: int) -> bool:
        """Return whether this port of this domain is the end that was bound."""
        return bool(self.binder and self.binder.domain is domain and self.binder_port == port)

    def session_of(self, domain: Domain, port: int) -> ClientSession | None:
        """Return the session that opened this end."""
        return self.binder if self.is_bound_end(domain, port) else self.owner


@dataclass(eq=False)
class Domain:
    domid: int
    name: str
    shares: dict[int, Share] = field(default_factory=dict)  # by each of their references
    share_count: int = 0
    channels: dict[int, Channel] = field(default_factory=dict)  # by the domain's own port
    new_refs: Iterator[int] = field(default_factory=lambda: count(8))  # the first are reserved
    new_ports: Iterator[int] = field(default_factory=lambda: count(1))

    def __str__(self) -> str:
        return f"dom{self.domid} ({self.name})"


@dataclass(eq=False)
class ClientSession:
    """One connection to the hypervisor."""

    hang_up: Callable[[], None]
    domain: Domain | None = None


Reply = tuple[dict[str, Any], list[int]]


class Hypervisor:
    def __init__(self, store_of: Callable[[int], str]) -> None:
        self.on_created: Callable[[int], None] = lambda _domid: None
        self._domains = {0: Domain(0, "Domain-0")}
        self._new_domids = count(1)
        self._sessions: set[ClientSession] = set()
        self._store_of = store_of

    def exists(self, domid: int) -> bool:
        return domid in self._domains

    def connect(self, hang_up: Callable[[], None]) -> ClientSession:
        session = ClientSession(hang_up)
        self._sessions.add(session)
        return session

    def disconnect(self, session: ClientSession) -> None:
        self._sessions.discard(session)
        if session.domain:
            self._end_all_of(session, session.domain)

    def handle(self, session: ClientSession, request: bytes) -> tuple[bytes, list[int]]:
        """Return the reply, and the descriptors to send with it. Raises nothing, whatever the
        request."""
        try:
            result, fds = self._perform(session, request)
        except RequestRefused as refusal:
            result, fds = {"refused": refusal.kind, "text": str(refusal)}, []
        except OSError as error:  # out of descriptors or memory
            result, fds = {"refused": "limit", "text": str(error)}, []
        return json.dumps(result).encode(), fds

    def _perform(self, session: ClientSession, request: bytes) -> Reply:
        try:
            arguments = json.loads(request)
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise RequestRefused("client", "a request must be a JSON object")
        op = arguments.pop("op", None)
        if op == "hello":
            return self._hello(session, arguments)
        operation = _OPERATIONS.get(op) if isinstance(op, str) else None
        if not operation or not session.domain:
            raise RequestRefused("client", f"{_shown(op)} is no operation, or came before hello")
        return operation(self, session, session.domain, _Arguments(arguments))

    def _hello(self, session: ClientSession, arguments: dict[str, Any]) -> Reply:
        version, name = arguments.get("version"), arguments.get("domain")
        if version != VERSION:
            shown = _shown(version)
            raise RequestRefused(
                "usage", f"xensnd-localxen speaks version {VERSION}, the client {shown}"
            )
        if session.domain:
            raise RequestRefused("client", "a second hello")
        session.domain = self._domains[0] if name is None else self._named(name)
        domid = session.domain.domid
        return {"domid": domid, "store": self._store_of(domid)}, []

    # Domains: only domain 0 may ask

    def create(self, _session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        _require_dom0(domain)
        name = arguments.text("name")
        if not 0 < len(name) <= NAME_MAX or not name.isprintable() or "/" in name:
            text = f"a domain's name is 1 to {NAME_MAX} printable characters without a slash"
            raise RequestRefused("usage", text)
        if any(each.name == name for each in self._domains.values()):
            raise RequestRefused("usage", f"a domain {quoted(name)} exists already")
        new = Domain(next(self._new_domids), name)
        self._domains[new.domid] = new
        self.on_created(new.domid)
        return {"domid": new.domid}, []

    def destroy(self, _session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        _require_dom0(domain)
        gone = self._named(arguments.text("name"))
        if gone.domid == 0:
            raise RequestRefused("usage", "domain 0 cannot be destroyed")
        del self._domains[gone.domid]
        for session in [each for each in self._sessions if each.domain is gone]:
            self.disconnect(session)
            session.hang_up()
        return {"domid": gone.domid}, []

    def domains(self, _session: ClientSession, domain: Domain, _arguments: _Arguments) -> Reply:
        _require_dom0(domain)
        return {"domains": {each.name: each.domid for each in self._domains.values()}}, []

    def _named(self, name: object) -> Domain:
        for domain in self._domains.values():
            if domain.name == name:
                return domain
        names = ", ".join(each.name for each in self._domains.values() if each.domid) or "none yet"
        raise RequestRefused(
            "usage",
            f"no domain {_shown(name)}; known are: {names}"
            " (create one with: xensnd-localxen DIR create NAME)",
        )

    # Grants

    def share(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        peer, pages = arguments.number("peer"), arguments.number("count")
        if pages == 0:
            raise RequestRefused("client", "a share has at least 1 page")
        if len(domain.shares) + pages > GRANTS_OF_A_DOMAIN_MAX:
            raise RequestRefused(
                "limit", f"{domain}: more than {GRANTS_OF_A_DOMAIN_MAX} pages to share"
            )
        if domain.share_count >= SHARES_OF_A_DOMAIN_MAX:
            raise RequestRefused("limit", f"{domain}: more than {SHARES_OF_A_DOMAIN_MAX} shares")
        fd = create_pages(pages)
        first = next(domain.new_refs)
        domain.new_refs = count(first + pages)
        share = Share(session, peer, fd, range(first, first + pages))
        domain.shares.update(dict.fromkeys(share.refs, share))
        domain.share_count += 1
        return {"first_ref": first}, [fd]

    def end_share(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        share = domain.shares.get(arguments.number("first_ref"))
        if not share or share.owner is not session:
            raise RequestRefused("client", "this connection has no such share")
        self._end_share(domain, share)
        return {}, []

    def map(self, _session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        """Reply, for each reference, with the place of its descriptor and its page in it."""
        peer = self._domains.get(arguments.number("peer"))
        fds: list[int] = []
        pages: list[Page] = []
        for ref in arguments.numbers("refs", REFS_IN_A_REQUEST_MAX):
            share = peer.shares.get(ref) if peer else None
            if not share or share.peer != domain.domid:
                granter = peer or f"dom{arguments.number('peer')} (gone)"
                raise RequestRefused("peer", f"{granter} grants no page {ref} to {domain}")
            if share.fd not in fds:
                fds.append(share.fd)
            pages.append(Page(fds.index(share.fd), ref - share.refs.start))
        return {"pages": pages}, fds

    # Event channels

    def allocate(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        peer = arguments.number("peer")
        port = self._new_port(domain)
        first = _eventfd()
        try:
            fds = (first, _eventfd())
        except OSError:
            os.close(first)
            raise
        domain.channels[port] = Channel(session, peer, port, fds)
        return {"port": port}, list(fds)

    def bind(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        peer, port = self._domains.get(arguments.number("peer")), arguments.number("port")
        channel = peer.channels.get(port) if peer else None
        offered = channel and channel.port == port and channel.owner.domain is peer
        if not channel or not offered or channel.peer != domain.domid:
            allocator = peer or f"dom{arguments.number('peer')} (gone)"
            raise RequestRefused("peer", f"{allocator} offers no event channel {port} to {domain}")
        if channel.binder:
            raise RequestRefused("peer", f"event channel {port} of {peer} is bound already")
        channel.binder_port = self._new_port(domain)
        channel.binder = session
        domain.channels[channel.binder_port] = channel
        return {"port": channel.binder_port}, [channel.fds[1], channel.fds[0]]

    def adopt(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        """Let a channel that another connection of this domain has bound be this one's. In Xen it
        is whoever has the descriptor."""
        port = arguments.number("port")
        channel = domain.channels.get(port)
        if not channel or not channel.is_bound_end(domain, port):
            raise RequestRefused("client", f"{domain} has bound no event channel {port}")
        channel.binder = session
        return {}, []

    def channel_status(
        self, _session: ClientSession, domain: Domain, arguments: _Arguments
    ) -> Reply:
        """As Xen's EVTCHNOP_status."""
        port = arguments.number("port")
        channel = domain.channels.get(port)
        if not channel:
            raise RequestRefused("client", f"{domain} has no event channel {port}")
        return {"is_bound": channel.binder is not None}, []

    def end_channel(self, session: ClientSession, domain: Domain, arguments: _Arguments) -> Reply:
        port = arguments.number("port")
        channel = domain.channels.get(port)
        if not channel or channel.session_of(domain, port) is not session:
            raise RequestRefused("client", f"this connection has no event channel {port}")
        self._end_channel(domain, port, channel)
        return {}, []

    def _new_port(self, domain: Domain) -> int:
        most = CHANNELS_OF_A_DOMAIN_MAX if domain.domid else CHANNELS_OF_DOMAIN_0_MAX
        if len(domain.channels) >= most:
            raise RequestRefused("limit", f"{domain}: {most} event channels are open")
        return next(domain.new_ports)

    # Ending

    def _end_all_of(self, session: ClientSession, domain: Domain) -> None:
        for share in set(domain.shares.values()):
            if share.owner is session:
                self._end_share(domain, share)
        for port, channel in list(domain.channels.items()):
            if channel.session_of(domain, port) is session:
                self._end_channel(domain, port, channel)

    def _end_share(self, domain: Domain, share: Share) -> None:
        for ref in share.refs:
            del domain.shares[ref]
        domain.share_count -= 1
        os.close(share.fd)

    def _end_channel(self, domain: Domain, port: int, channel: Channel) -> None:
        """Close one end. A channel whose bound end is closed can be bound again; one whose
        allocator closes it is gone."""
        del domain.channels[port]
        if channel.is_bound_end(domain, port):
            channel.binder = None
        else:
            for fd in channel.fds:
                os.close(fd)


class _Arguments:
    """The arguments of a request, each checked when it is read."""

    def __init__(self, untrusted: dict[str, Any]) -> None:
        self._untrusted = untrusted

    def number(self, name: str) -> int:
        return _number(name, self._untrusted.get(name))

    def numbers(self, name: str, most: int) -> list[int]:
        untrusted = self._untrusted.get(name)
        if not isinstance(untrusted, list) or len(untrusted) > most:
            raise RequestRefused("client", f"{name} must be a list of at most {most} numbers")
        return [_number(name, each) for each in untrusted]

    def text(self, name: str) -> str:
        untrusted = self._untrusted.get(name)
        if not isinstance(untrusted, str):
            raise RequestRefused("client", f"{name} must be text")
        return untrusted


def _number(name: str, untrusted: object) -> int:
    if type(untrusted) is not int or not 0 <= untrusted < 1 << 32:
        raise RequestRefused("client", f"{name} must be a number of 32 bits")
    return untrusted


def _shown(untrusted: object) -> str:
    """Return a peer's text or number, quoted; of anything else, which may be deep, its type."""
    known = isinstance(untrusted, (str, int))
    return quoted(str(untrusted)) if known else type(untrusted).__name__


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def _require_dom0(domain: Domain) -> None:
    if domain.domid != 0:
        raise RequestRefused("client", "only domain 0 may do this")


_OPERATIONS: dict[str, Callable[[Hypervisor, ClientSession, Domain, _Arguments], Reply]] = {
    "create": Hypervisor.create,
    "destroy": Hypervisor.destroy,
    "domains": Hypervisor.domains,
    "share": Hypervisor.share,
    "end_share": Hypervisor.end_share,
    "map": Hypervisor.map,
    "allocate": Hypervisor.allocate,
    "bind": Hypervisor.bind,
    "adopt": Hypervisor.adopt,
    "channel_status": Hypervisor.channel_status,
    "end_channel": Hypervisor.end_channel,
}
