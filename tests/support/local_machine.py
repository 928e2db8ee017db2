"""A machine with domains for a test: `xensnd-localxen` as a process of its own."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Literal, Self, TypeVar

from tests.support.daemon import Daemon
from tests.support.real_xenstored import RealXenstored
from xensnd.localxen import toolstack
from xensnd.transport.local import LocalTransport
from xensnd.transport.xenstore import XenStore

StoreKind = Literal["standin", "xenstored"]
Closable = TypeVar("Closable", LocalTransport, XenStore)


class LocalMachine(Daemon):
    """`with LocalMachine(tmp_path) as machine: machine.create("work"); machine.transport("work")`

    `store` is the stand-in's own, or "xenstored": Debian's real one. What `transport()` and
    `open_store()` gave is closed at the end.
    """

    def __init__(self, directory: Path, store: StoreKind = "standin") -> None:
        super().__init__("xensnd-localxen")
        self.directory = directory
        self.url = f"local:{directory}"
        self._store = store
        self._stack = contextlib.ExitStack()
        self.xenstored: RealXenstored | None = None

    def __enter__(self) -> Self:
        try:
            if self._store == "xenstored":
                self.xenstored = self._stack.enter_context(RealXenstored(self.directory))
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    # Domains

    def create(self, name: str) -> int:
        with contextlib.closing(LocalTransport(self.directory)) as transport:
            return toolstack.create(transport, name)

    def destroy(self, name: str) -> None:
        with contextlib.closing(LocalTransport(self.directory)) as transport:
            toolstack.destroy(transport, name)

    def transport(self, domain: str | None = None) -> LocalTransport:
        """Domain 0's, or that of the guest of this name."""
        return self._kept(LocalTransport(self.directory, domain))

    def open_store(self, domain: str | None = None, *, timeout: float = 10) -> XenStore:
        if domain is not None:
            return self._kept(self.transport(domain).open_store())
        return self._kept(XenStore.over_socket(self.store_socket, timeout=timeout))

    @property
    def store_socket(self) -> Path:
        return self.xenstored.socket if self.xenstored else self.directory / "xenstored" / "socket"

    # The processes

    def start(self) -> None:
        """Serve, again after `stop()` or `kill()`: then of a fresh machine without guests."""
        command = [sys.executable, "-m", "xensnd.localxen.cli", str(self.directory), "serve"]
        if self.xenstored:
            command += ["--store", str(self.xenstored.socket)]
        self.launch_until_line(command, b"ready")

    def kill_store(self) -> None:
        """The store alone if it is a real xenstored; with the stand-in, all goes."""
        if self.xenstored:
            self.xenstored.kill()
        else:
            self.kill()

    def freeze_store(self) -> None:
        (self.xenstored or self).freeze()

    def thaw_store(self) -> None:
        (self.xenstored or self).thaw()

    def _kept(self, thing: Closable) -> Closable:
        self._stack.callback(thing.close)
        return thing
