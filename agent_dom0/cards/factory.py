"""Makes the devices and streams of cards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.cards.card_stream import CardStream
from agent_dom0.cards.device import CardMaker, Device, DevicePath
from agent_dom0.cards.rings import StreamLink
from agent_dom0.cards.saved_state import SavedState, is_left_open
from agent_dom0.parameters import SoundParameters
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.served_guest import ServedGuest
from xensnd.sndif.store_fields import StreamConfig, StreamRings
from xensnd.transport.interface import Store


@dataclass(frozen=True, slots=True)
class CardFactory:
    common: Factory

    def device(self, store: Store, path: DevicePath, owner: ServedGuest) -> Device:
        return Device(store, path, owner, _Maker(self, owner, path), self.common.run)

    def has_left_open(self, guest: ServedGuest) -> bool:
        """Whether the agent before this one had a stream of this guest open."""
        directory = self.saved_directory
        names = os.listdir(directory) if directory.is_dir() else []
        prefix = f"{guest.guest.domid}-"
        return any(is_left_open(directory / name) for name in names if name.startswith(prefix))

    def stream(
        self,
        owner: ServedGuest,
        devid: int,
        name: str,
        config: StreamConfig,
        rings: StreamRings,
    ) -> CardStream:
        common, direction = self.common, config.direction
        link = StreamLink(
            common.transport,
            owner.engine,
            owner.guest.domid,
            direction,
            rings,
            owner.quarantine.core_address,
            lambda: self._saved_state(owner, devid, name),
        )
        core = link.core
        audit = common.audit(owner, direction)
        access = common.access(owner, str(devid), name, core, audit, link.saved.save_answer)

        def new_audio(parameters: SoundParameters) -> ServerStream:
            settings = owner.audio.volumes[direction]
            volume = StreamVolume(parameters.channels, settings, core.peek, core.poke)
            return common.audio(owner, core, audit, parameters, volume)

        return CardStream(name, config, link, access, new_audio, audit, common.limits)

    @property
    def saved_directory(self) -> Path:
        return self.common.transport.runtime_directory / "streams"

    def saved_path(self, domid: int, devid: int, stream: str) -> Path:
        return self.saved_directory / f"{domid}-{devid}-{stream.replace('/', '-')}"

    def saved_paths(self) -> dict[int, list[Path]]:
        """Those that are there, by the guests' domids."""
        found: dict[int, list[Path]] = {}
        if self.saved_directory.is_dir():
            for path in self.saved_directory.iterdir():
                domid, _, stream = path.name.partition("-")
                if stream and domid.isdigit():
                    found.setdefault(int(domid), []).append(path)
        return found

    def _saved_state(self, owner: ServedGuest, devid: int, stream: str) -> SavedState:
        path = self.saved_path(owner.guest.domid, devid, stream)
        return SavedState(path, owner.guest.uuid, lambda: owner.guest.name)


@dataclass(frozen=True, slots=True)
class _Maker(CardMaker):
    factory: CardFactory
    owner: ServedGuest
    path: DevicePath

    def stream(self, name: str, config: StreamConfig, rings: StreamRings) -> CardStream:
        return self.factory.stream(self.owner, self.path.devid, name, config, rings)

    def recent_nodes(self) -> Mapping[str, str] | None:
        transport = self.factory.common.transport
        return transport.recent_card_nodes(self.path.guest_domid, self.path.devid)

    def is_left_open(self, stream: str) -> bool:
        path = self.factory.saved_path(self.path.guest_domid, self.path.devid, stream)
        return is_left_open(path)
