"""Makes guests, and what each stream of theirs needs, whatever front it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompts
from agent_dom0.access.stream_access import StreamAccess
from agent_dom0.audio.connections import Connections
from agent_dom0.audio.guest_client import GuestClient
from agent_dom0.audio.guest_volume import VolumeFile
from agent_dom0.audio.mixer import Mixer
from agent_dom0.audio.server_stream import ServerStream
from agent_dom0.audio.stream_volume import StreamVolume
from agent_dom0.audit import AuditTrail
from agent_dom0.engines.interface import GuestEngine
from agent_dom0.guest import RunningGuest
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.parameters import Limits, SoundParameters, limits_within
from agent_dom0.stream_audit import StreamAudit
from agent_dom0.streams.quarantine import Quarantine
from agent_dom0.streams.served_guest import ServedGuest, stream_id
from xensnd.control.answers import Answer
from xensnd.core import USUAL_PERCENT, SoundCore
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Transport


@dataclass(frozen=True, slots=True)
class Factory:
    """`run` calls work for guests, during which XenStore may be lost."""

    transport: Transport
    new_engine: Callable[[int], GuestEngine]  # for a guest, by its domid
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
        engine = self.new_engine(guest.domid)
        connections = self.connections.of_engine(engine.new_client)
        audio = GuestClient(connections, self.mixer, guest, trail, record)
        quarantine = Quarantine(runtime / "guests" / (guest.uuid or f"domain-{guest.domid}"))
        served = ServedGuest(
            guest, engine, audio, quarantine, trail, self._most_streams, self._budget_percent
        )
        return served

    def _most_streams(self, guest: RunningGuest, direction: Direction) -> int:
        """A rule may raise it. One that lowers it says how many may be open, and not how many a
        card may have."""
        options = self.policy.decide(guest, direction).options
        return max(limits_within(self.limits, options).max_streams, self.limits.max_streams)

    def _budget_percent(self, guest: RunningGuest) -> int:
        """If the rules of both directions say it, the lower holds."""
        limits = (self.policy.limits(guest, direction) for direction in Direction)
        said = [each.budget_percent for each in limits if each.budget_percent is not None]
        return min(said, default=USUAL_PERCENT)

    def audit(self, owner: ServedGuest, direction: Direction) -> StreamAudit:
        return StreamAudit(owner.trail, owner, direction)

    def access(
        self,
        owner: ServedGuest,
        device: str,
        stream: str,
        core: SoundCore,
        audit: StreamAudit,
        remember: Callable[[Answer | None], None],
    ) -> StreamAccess:
        """Return what decides about a stream. `remember` keeps the person's answer about it for the
        next agent."""
        return StreamAccess(
            stream_id(owner.guest.domid, device, stream),
            owner,
            audit.direction,
            self.policy,
            self.prompts,
            audit,
            core.close_gate,
            remember,
        )

    def audio(
        self,
        owner: ServedGuest,
        core: SoundCore,
        audit: StreamAudit,
        parameters: SoundParameters,
        volume: StreamVolume,
    ) -> ServerStream:
        """Return an open stream's side at the audio server."""
        return ServerStream(core, owner.audio, audit.direction, parameters, volume, audit)
