"""XenStore in a dictionary, for unit tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from agent_dom0.cards.device import DevicePath
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import StreamRings
from xensnd.transport.interface import Store, WatchEvent


class MemoryStore:
    """XenStore in a dictionary. It refuses to write below what is in `refused`, and fails to read
    what is in `broken`."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.refused: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.fired: list[WatchEvent] = []
        self.watches: set[tuple[str, str]] = set()
        self.reads: Counter[str] = Counter()

    def read(self, path: str) -> str:
        self.reads[path] += 1
        if path in self.broken:
            raise self.broken[path]
        return self.nodes[path]

    def read_each(self, paths: Sequence[str]) -> list[str | None]:
        return [self.read(path) if path in self.nodes else None for path in paths]

    def write_each(self, nodes: Mapping[str, str]) -> None:
        for path, value in nodes.items():
            self.write(path, value)

    def write(self, path: str, value: str) -> None:
        if any(path.startswith(refused) for refused in self.refused):
            raise PermissionError(13, "Permission denied", path)
        self.nodes[path] = value

    def list(self, path: str) -> list[str]:
        below = [node for node in self.nodes if node.startswith(f"{path}/")]
        if not below and path not in self.nodes:
            raise KeyError(path)
        return sorted({node.removeprefix(f"{path}/").split("/")[0] for node in below})

    def remove(self, path: str) -> None:
        for node in list(self.nodes):
            if node == path or node.startswith(f"{path}/"):
                del self.nodes[node]

    def mkdir(self, path: str) -> None:
        self.nodes.setdefault(path, "")

    def get_permissions(self, path: str) -> Sequence[str]:
        raise NotImplementedError(path)

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        pass

    @contextmanager
    def transaction(self) -> Iterator[Store]:
        yield cast(Store, self)

    def transactions(self) -> Iterator[Any]:
        yield self.transaction()

    def watch(self, path: str, token: str) -> None:
        self.watches.add((path, token))

    def unwatch(self, path: str, token: str) -> None:
        if (path, token) not in self.watches:
            raise KeyError(path)
        self.watches.remove((path, token))

    def events(self) -> Sequence[WatchEvent]:
        fired, self.fired = self.fired, []
        return fired

    def fileno(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass

    # What the others do

    def add_guest(self, domid: int, name: str) -> None:
        self.nodes[f"/local/domain/{domid}/name"] = name
        self.nodes[f"/local/domain/{domid}/vm"] = f"/vm/uuid-{domid}"

    def publish(self, path: DevicePath) -> None:
        """What a frontend writes before it is connected."""
        number = iter(range(1, 100))
        for stream in ("0/0", "0/1"):
            for name in StreamRings.NODES:
                self.nodes[f"{path.frontend}/{stream}/{name}"] = str(next(number))
        self.enter(path, XenbusState.INITIALISED)

    def enter(self, path: DevicePath, state: XenbusState) -> None:
        self.nodes[f"{path.frontend}/state"] = str(int(state))

    def state(self, path: DevicePath) -> XenbusState:
        return XenbusState(int(self.nodes[f"{path.backend}/state"]))
