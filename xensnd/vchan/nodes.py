"""Where a guest offers a vchan in XenStore.

Only the audio domain may read the two nodes. It may not read the directory, so it watches the node
of the event channel, which is written last. The server removes both once a client has come.
"""

from __future__ import annotations

from dataclasses import dataclass

from xensnd.sndif.untrusted import decimal

__all__ = ["CAPTURE_PORT", "PLAYBACK_PORT", "PORTS", "VchanNodes", "VchanOffer", "parse_offer"]

PLAYBACK_PORT = 4713
CAPTURE_PORT = 4714
PORTS = (PLAYBACK_PORT, CAPTURE_PORT)

_RING_REF = "ring-ref"
_EVENT_CHANNEL = "event-channel"


@dataclass(frozen=True, slots=True)
class VchanNodes:
    """The nodes of one port. `client` is the audio domain's domid."""

    guest: int
    client: int
    port: int

    @property
    def directory(self) -> str:
        return f"/local/domain/{self.guest}/data/vchan/{self.client}/{self.port}"

    @property
    def ring_ref(self) -> str:
        return f"{self.directory}/{_RING_REF}"

    @property
    def event_channel(self) -> str:
        return f"{self.directory}/{_EVENT_CHANNEL}"


@dataclass(frozen=True, slots=True)
class VchanOffer:
    """The reference of the shared page, and the event channel that goes with it."""

    ring_ref: int
    event_channel: int


def parse_offer(ring_ref: str | None, event_channel: str | None) -> VchanOffer | None:
    """Read the values of the two nodes; None, one of them is not there yet, or no more.

    RemoteProtocolError: they are no numbers, or 0, which no server has.
    """
    if ring_ref is None or event_channel is None:
        return None
    return VchanOffer(
        decimal(ring_ref, _RING_REF, minimum=1), decimal(event_channel, _EVENT_CHANNEL, minimum=1)
    )
