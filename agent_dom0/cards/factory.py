"""Makes the devices and streams of cards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.cards.card_stream import CardStream
from agent_dom0.cards.device import Device, DevicePath
from agent_dom0.cards.rings import StreamLink
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.parameters import SoundParameters
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.served_guest import ServedGuest
from xensnd.sndif.store_fields import StreamConfig, StreamRings
from xensnd.transport.interface import Store


@dataclass(frozen=True, slots=True)
class CardFactory:
    common: Factory

    def device(self, store: Store, path: DevicePath, owner: ServedGuest) -> Device:
        make_stream = partial(self._stream, owner, path.devid)
        return Device(store, path, owner, make_stream, self.common.run)

    def _stream(
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

    def _saved_state(self, owner: ServedGuest, devid: int, stream: str) -> SavedState:
        guest = owner.guest
        directory = self.common.transport.runtime_directory / "streams"
        name = f"{guest.domid}-{devid}-{stream.replace('/', '-')}"
        return SavedState(directory / name, guest.uuid, lambda: owner.guest.name)
