"""The parameters of an open PCM stream, as the core needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._core import ffi


@dataclass(frozen=True, slots=True)
class PcmParameters:
    rate_hz: int
    frame_octets: int
    buffer_octets: int
    period_octets: int  # 0: no position events
    silence_octet: int

    def struct(self) -> Any:
        return ffi.new(
            "struct xn_pcm_config *",
            {
                "rate_hz": self.rate_hz,
                "frame_octets": self.frame_octets,
                "buffer_octets": self.buffer_octets,
                "period_octets": self.period_octets,
                "silence_octet": self.silence_octet,
            },
        )
