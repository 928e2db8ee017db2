"""Makes guests, devices and streams, each with what it needs of the agent and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompts
from agent_dom0.access.stream_access import StreamAccess
from agent_dom0.audio.connections import Connections
from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.guest_volume import VolumeFile
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audit import AuditTrail
from agent_dom0.cards.device import Device, DevicePath
from agent_dom0.cards.quarantine import Quarantine
from agent_dom0.cards.rings import StreamLink
from agent_dom0.cards.saved_state import SavedState
from agent_dom0.cards.served_guest import ServedGuest, stream_id
from agent_dom0.cards.stream import Stream
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.parameters import Limits, limits_within
from agent_dom0.stream_audit import StreamAudit
from xensnd.core import Engine
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.interface import Store, Transport


@dataclass(frozen=True, slots=True)
class Factory:
    """`run`: see Device."""

    transport: Transport
    engine: Engine
    connections: Connections
    mixer: Mixer
    policy: PolicyState
    prompts: Prompts
    trail: AuditTrail
    limits: Limits
    run: Callable[[Callable[[], None]], None]

    def guest(self, guest: RunningGuest) -> ServedGuest:
        runtime = self.transport.runtime_directory
        record = VolumeFile(runtime / "volumes" / str(guest.domid), guest.uuid)
        trail = GuestTrail(self.trail, lambda: self.run(served.decide))
        audio = GuestClient(self.connections, self.mixer, guest, trail, record)
        quarantine = Quarantine(runtime / "guests" / (guest.uuid or f"domain-{guest.domid}"))
        served = ServedGuest(guest, audio, quarantine, trail, self._most_streams)
        return served

    def _most_streams(self, guest: RunningGuest, direction: Direction) -> int:
        """A rule may raise it. One that lowers it says how many may be open, and not how many a
        card may have."""
        options = self.policy.decide(guest, direction).options
        return max(limits_within(self.limits, options).max_streams, self.limits.max_streams)

    def device(self, store: Store, path: DevicePath, owner: ServedGuest) -> Device:
        return Device(store, path, owner, partial(self._stream, owner, path.devid), self.run)

    def _stream(
        self,
        owner: ServedGuest,
        devid: int,
        name: str,
        config: StreamConfig,
        rings: StreamRings,
    ) -> Stream:
        domid, direction = owner.guest.domid, config.direction
        link = StreamLink(
            self.transport,
            self.engine,
            domid,
            direction,
            rings,
            owner.budget,
            owner.quarantine.core_address,
            lambda: self._saved_state(owner, devid, name),
        )
        audit = StreamAudit(owner.trail, owner, direction)
        access = StreamAccess(
            stream_id(domid, devid, name),
            owner,
            direction,
            self.policy,
            self.prompts,
            audit,
            link.core.close_gate,
            link.saved.save_answer,
        )

        def new_audio(request: Open, connected: Callable[[], None]) -> ServerStream:
            return ServerStream(link.core, owner.audio, direction, request, audit, connected)

        return Stream(name, config, link, access, new_audio, audit, self.limits)

    def _saved_state(self, owner: ServedGuest, devid: int, stream: str) -> SavedState:
        guest = owner.guest
        directory = self.transport.runtime_directory / "streams"
        name = f"{guest.domid}-{devid}-{stream.replace('/', '-')}"
        return SavedState(directory / name, guest.uuid, lambda: owner.guest.name)
