"""A stream of the core in a process of its own, in the place of one here: see core_stream.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from agent_dom0.engines.apart import EngineApart
from agent_dom0.engines.process import EngineProcess
from agent_dom0.engines.zygote import Zygote
from tests.support.core_stream import Memory, Setting
from xensnd.core import PCM_STATE_OCTETS, BackendStream, Engine
from xensnd.transport.factory import open_receiver
from xensnd.transport.interface import EventFds, Handed, Transport

GUEST = 7


class Offered:
    """What the guest offers, as a transport hands it over."""

    def __init__(self) -> None:
        self.memory: dict[int, tuple[Memory, int]] = {}
        self.channels: dict[int, EventFds] = {}
        self.ended: list[int] = []

    def offer(self, memory: Memory) -> list[int]:
        first = len(self.memory) + 1
        refs = list(range(first, first + memory.count))
        self.memory |= {ref: (memory, index) for index, ref in enumerate(refs)}
        return refs

    def hand_pages(self, _domid: int, refs: Sequence[int]) -> Handed:
        pages = [self.memory[ref] for ref in refs]
        layout = [[index, number] for index, (_, number) in enumerate(pages)]
        return Handed([os.dup(memory.fd) for memory, _ in pages], {"pages": layout})

    def hand_channel(self, _domid: int, port: int) -> Handed:
        fds = self.channels[port]
        return Handed([os.dup(fds.wait_fd), os.dup(fds.notify_fd)], {"port": port})

    def end_channel(self, port: int) -> None:
        self.ended.append(port)


class SavedFile:
    """The positions, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pcm_address = 0  # not in this process
        self.pcm_offset = 128
        path.write_bytes(bytes(self.pcm_offset + PCM_STATE_OCTETS))


class SettingApart(Setting):
    """`engine` stands for the engine's process. Each address that a backend gets is one of that."""

    def __init__(self, *, playback: bool, zygote: Zygote, directory: Path) -> None:
        self.offered = Offered()
        self.saved = SavedFile(directory / "saved")
        self.apart = EngineApart(cast(Transport, self.offered), zygote, lambda _connection: None)
        self._mapped: list[Any] = []
        super().__init__(playback=playback, engine=cast(Engine, self.apart))

    def _new_backend(self) -> BackendStream:
        self.offered.channels = {1: self.requests, 2: self.events}
        pages = [
            self.apart.map_pages(GUEST, self.offered.offer(memory), writable=True)
            for memory in (self.ring, self.event_page)
        ]
        channels = [self.apart.bind_channel(GUEST, port) for port in (1, 2)]
        self._mapped += [*pages, *channels]
        return self.apart.new_stream(
            playback=self.playback,
            ring=pages[0],
            event_page=pages[1],
            requests=channels[0],
            events=channels[1],
            saved=self.saved,
            served_address=0,
        )

    def _backends_address(self, memory: Memory) -> int:
        self._mapped.append(self.apart.map_pages(GUEST, self.offered.offer(memory), writable=True))
        return int(self._mapped[-1].address)

    def end(self) -> None:
        self.close()
        for each in self._mapped:
            each.close()
        self.apart.close()
        super().end()


@contextmanager
def running_zygote(directory: Path) -> Iterator[Zygote]:
    receiver = open_receiver(f"local:{directory}")
    zygote = Zygote(directory / "lock", lambda end: EngineProcess(end, receiver).run())
    yield zygote
    zygote.close()
