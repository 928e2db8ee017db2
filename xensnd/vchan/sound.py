"""What all sound over vchan is like: the guests and the audio domains have it fixed."""

from __future__ import annotations

from dataclasses import dataclass

from xensnd.sndif.formats import SampleFormat

__all__ = ["VchanSound"]


@dataclass(frozen=True, slots=True)
class VchanSound:
    """`buffer_octets` is the size of the ring that carries it."""

    buffer_octets: int
    rate_hz: int = 44100
    channels: int = 2
    sample_format: SampleFormat = SampleFormat.S16_LE

    @property
    def frame_octets(self) -> int:
        return self.sample_format.frame_octets(self.channels)
