"""Hardware parameters and how two sides agree on them: sndif.h, XENSND_OP_HW_PARAM_QUERY."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xensnd.errors import LocalProtocolError, RemoteProtocolError
from xensnd.sndif.formats import formats_in_mask

__all__ = [
    "HW_PARAMS_OCTETS",
    "HwParams",
    "Interval",
    "NothingInCommon",
    "decode_hw_params",
    "encode_hw_params",
    "narrow",
]

_HW_PARAMS = struct.Struct("<Q8I")
HW_PARAMS_OCTETS = _HW_PARAMS.size


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from `minimum` to `maximum`, both included; never empty."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise LocalProtocolError(f"interval {self.minimum}-{self.maximum} is inverted")

    def __str__(self) -> str:
        return f"{self.minimum}-{self.maximum}"

    def contains(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum

    def intersect(self, other: Interval) -> Interval | None:
        minimum = max(self.minimum, other.minimum)
        maximum = min(self.maximum, other.maximum)
        return Interval(minimum, maximum) if minimum <= maximum else None


@dataclass(frozen=True, slots=True)
class HwParams:
    """struct xensnd_query_hw_param: what a stream may be, or what is left of it.

    `formats` is a mask (`format_mask`); rates are in Hz. Buffer and period are in frames here,
    though OPEN has them in octets.
    """

    formats: int
    rates: Interval
    channels: Interval
    buffer_frames: Interval
    period_frames: Interval


def encode_hw_params(params: HwParams) -> bytes:
    try:
        return _HW_PARAMS.pack(
            params.formats,
            params.rates.minimum,
            params.rates.maximum,
            params.channels.minimum,
            params.channels.maximum,
            params.buffer_frames.minimum,
            params.buffer_frames.maximum,
            params.period_frames.minimum,
            params.period_frames.maximum,
        )
    except struct.error as error:
        raise LocalProtocolError(f"{params} does not fit its fields: {error}") from None


def decode_hw_params(octets: bytes) -> HwParams:
    """Read a peer's 40 octets. An inverted interval is a RemoteProtocolError."""
    if len(octets) != HW_PARAMS_OCTETS:
        raise LocalProtocolError(f"{len(octets)} octets of parameters, not {HW_PARAMS_OCTETS}")
    formats, *bounds = _HW_PARAMS.unpack(octets)
    return HwParams(
        formats,
        _peers_interval("rates", bounds[0], bounds[1]),
        _peers_interval("channels", bounds[2], bounds[3]),
        _peers_interval("buffer", bounds[4], bounds[5]),
        _peers_interval("period", bounds[6], bounds[7]),
    )


def _peers_interval(what: str, minimum: int, maximum: int) -> Interval:
    if minimum > maximum:
        raise RemoteProtocolError(f"{what} {minimum}-{maximum}: the minimum exceeds the maximum")
    return Interval(minimum, maximum)


class NothingInCommon(RemoteProtocolError):
    """A peer asks for what we cannot do. It may ask: some players try one rate after another."""


def narrow(offered: HwParams, able: HwParams) -> HwParams:
    """Return what of the peer's `offered` we are `able` to do.

    NothingInCommon names the first parameter of which nothing is left, with both ranges.
    """
    formats = offered.formats & able.formats
    if not formats:
        raise NothingInCommon(
            f"formats {_format_names(offered.formats)}, able {_format_names(able.formats)}"
        )
    return HwParams(
        formats,
        _common("rates", offered.rates, able.rates, " Hz"),
        _common("channels", offered.channels, able.channels),
        _common("buffer", offered.buffer_frames, able.buffer_frames, " frames"),
        _common("period", offered.period_frames, able.period_frames, " frames"),
    )


def _common(what: str, offered: Interval, able: Interval, unit: str = "") -> Interval:
    common = offered.intersect(able)
    if common is None:
        raise NothingInCommon(f"{what} {offered}{unit}, able {able}")
    return common


def _format_names(mask: int) -> str:
    return ", ".join(each.wire_name for each in formats_in_mask(mask)) or f"{mask:#x}"
