"""Makes the vchan devices of guests, their links and their streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.parameters import SoundParameters
from agent_dom0.stream_audit import StreamAudit
from agent_dom0.streams.factory import Factory
from agent_dom0.streams.served_guest import ServedGuest
from agent_dom0.vchan.device import NAME, VchanDevice, VchanMaker
from agent_dom0.vchan.link import VchanLink
from agent_dom0.vchan.saved_link import Offers, SavedLink
from agent_dom0.vchan.vchan_stream import VchanStream
from xensnd.core import VchanCore
from xensnd.errors import LocalProtocolError
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Store
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT
from xensnd.vchan.sound import VchanSound

_NO_REQUESTS = "a vchan carries no volume requests"


@dataclass(frozen=True, slots=True)
class VchanFactory:
    common: Factory

    def device(self, store: Store, owner: ServedGuest) -> VchanDevice:
        common = self.common
        maker = _GuestMaker(common, owner, self.saved_path(owner.guest.domid))
        return VchanDevice(store, common.transport.domid, owner, maker, common.run)

    @property
    def saved_directory(self) -> Path:
        """Where the saved state of each guest is, by its domid."""
        return self.common.transport.runtime_directory / "vchans"

    def saved_path(self, domid: int) -> Path:
        return self.saved_directory / str(domid)


@dataclass(frozen=True, slots=True)
class _GuestMaker(VchanMaker):
    common: Factory
    owner: ServedGuest
    saved_path: Path

    def open_saved(self) -> SavedLink:
        owner = self.owner
        return SavedLink(self.saved_path, owner.guest.uuid, lambda: owner.guest.name)

    def find_saved(self) -> SavedLink | None:
        return self.open_saved() if self.saved_path.exists() else None

    def connect(self, offers: Offers, saved: SavedLink) -> VchanLink:
        return VchanLink(
            self.common.transport,
            self.owner.engine,
            self.owner.guest.domid,
            offers,
            saved,
            self.owner.quarantine.core_address,
        )

    def streams(self, link: VchanLink) -> Mapping[Direction, VchanStream]:
        return {
            Direction.PLAYBACK: self._stream(link, PLAYBACK_PORT, Direction.PLAYBACK),
            Direction.CAPTURE: self._stream(link, CAPTURE_PORT, Direction.CAPTURE),
        }

    def _stream(self, link: VchanLink, port: int, direction: Direction) -> VchanStream:
        common, owner, name = self.common, self.owner, str(port)
        core = link.playback if direction is Direction.PLAYBACK else link.capture
        audit = common.audit(owner, direction)
        remember = partial(link.saved.save_answer, direction)
        access = common.access(owner, NAME, name, core, audit, remember)
        return VchanStream(
            name,
            direction,
            core,
            VchanSound(link.ring_octets[port]),
            access,
            partial(self._audio, core, direction, audit),
            audit,
            common.limits,
        )

    def _audio(
        self, core: VchanCore, direction: Direction, audit: StreamAudit, parameters: SoundParameters
    ) -> ServerStream:
        settings = self.owner.audio.volumes[direction]
        volume = StreamVolume(parameters.channels, settings, _peek, _poke)
        return self.common.audio(self.owner, core, audit, parameters, volume)


def _peek(_offset: int, _octets: int) -> bytes:
    raise LocalProtocolError(_NO_REQUESTS)


def _poke(_offset: int, _data: bytes) -> None:
    raise LocalProtocolError(_NO_REQUESTS)
