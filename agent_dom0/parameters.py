"""The parameters that the backend supports, and the limits of a rule.

Answers to HW_PARAM_QUERY are narrowed to them; an OPEN beyond them is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from policy.model import Options
from xensnd.errors import AccessDenied, RemoteProtocolError
from xensnd.sndif.formats import (
    PLAYABLE,
    SampleFormat,
    format_mask,
    formats_in_mask,
    require_playable,
)
from xensnd.sndif.packets import Open
from xensnd.sndif.params import HwParams, Interval, NothingInCommon, narrow
from xensnd.sndif.store_fields import StreamConfig

MAX_BUFFER_OCTETS = 256 * 1024
MIN_PERIOD_FRAMES = 64
DEFAULT_LATENCY_USEC = 20_000

# The default card has one stream in each direction. Eight are a full PCM of sndif, more than a
# desktop opens, and 64 guests with eight in each direction fit into LimitNOFILE= of the unit.
MAX_STREAMS = 8

# In each direction: so many streams with the largest buffers.
MAX_MEMORY_OCTETS = MAX_STREAMS * MAX_BUFFER_OCTETS


class SoundParameters(Protocol):
    """What an open stream is like, whatever front it has. OPEN of sndif is one."""

    @property
    def rate_hz(self) -> int: ...
    @property
    def sample_format(self) -> SampleFormat: ...
    @property
    def channels(self) -> int: ...
    @property
    def frame_octets(self) -> int: ...
    @property
    def buffer_octets(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`latency_usec` is how much of a stream the audio server queues, whatever buffer the guest
    chooses. `max_buffer_octets` bounds the memory that a guest makes us map for each stream.
    `max_streams` is how many streams of one direction a guest may have, `max_memory_octets` what it
    may make us map for those that are open."""

    latency_usec: int = DEFAULT_LATENCY_USEC
    max_buffer_octets: int = MAX_BUFFER_OCTETS
    max_streams: int = MAX_STREAMS
    max_memory_octets: int = MAX_MEMORY_OCTETS

    def min_buffer_frames(self, rate_hz: int) -> int:
        """Return the smallest buffer. The server queues one latency before sound is heard, and the
        guest gets room only when sound was heard. With less than twice that it would be late."""
        return 2 * self.latency_usec * rate_hz // 1_000_000


def answer_query(asked: HwParams, config: StreamConfig, limits: Limits) -> HwParams:
    """Return the supported part of what a frontend asks for."""
    formats = format_mask(set(config.formats) & set(PLAYABLE))
    common = narrow(
        asked,
        HwParams(
            formats=formats,
            rates=config.rate_range,
            channels=config.channels,
            buffer_frames=Interval(1, 2**32 - 1),
            period_frames=Interval(1, 2**32 - 1),
        ),
    )
    octets = min(config.buffer_octets, limits.max_buffer_octets)
    largest_buffer = octets // (common.channels.minimum * min(_sample_octets(common.formats)))
    # This buffer is allowed with every format and number of channels that the frontend may choose.
    fits_all = octets // (config.channels.maximum * max(_sample_octets(formats)))
    smallest_buffer = min(limits.min_buffer_frames(common.rates.minimum), fits_all)
    return narrow(
        common,
        HwParams(
            formats=common.formats,
            rates=common.rates,
            channels=common.channels,
            buffer_frames=Interval(smallest_buffer, largest_buffer),
            period_frames=Interval(
                min(MIN_PERIOD_FRAMES, largest_buffer), max(largest_buffer // 2, MIN_PERIOD_FRAMES)
            ),
        ),
    )


def _sample_octets(formats: int) -> list[int]:
    return [each.frame_octets(channels=1) for each in formats_in_mask(formats)]


def check_open(request: Open, config: StreamConfig, limits: Limits) -> int:
    """Return the octets of a frame. RemoteProtocolError: the request is not valid here."""
    require_playable(request.sample_format)
    if request.sample_format not in config.formats:
        allowed = ", ".join(f.wire_name for f in config.formats)
        raise RemoteProtocolError(
            f"OPEN format {request.sample_format.wire_name}, configured {allowed}"
        )
    if not config.allows_rate(request.rate_hz):
        raise RemoteProtocolError(f"OPEN rate {request.rate_hz} Hz, configured {config.rate_range}")
    if not config.channels.contains(request.channels):
        raise RemoteProtocolError(
            f"OPEN with {request.channels} channels, configured {config.channels}"
        )
    frame_octets = request.frame_octets
    limit = min(config.buffer_octets, limits.max_buffer_octets)
    if not 2 * frame_octets <= request.buffer_octets <= limit:
        raise RemoteProtocolError(f"OPEN buffer {request.buffer_octets} octets, limit {limit}")
    if request.buffer_octets % frame_octets:
        raise RemoteProtocolError(
            f"OPEN buffer {request.buffer_octets} octets is not a whole number of "
            f"frames of {frame_octets} octets"
        )
    period = request.period_octets
    if period > request.buffer_octets or period % frame_octets:
        raise RemoteProtocolError(
            f"OPEN period {period} octets, allowed 0 to {request.buffer_octets} "
            f"in frames of {frame_octets}"
        )
    return frame_octets


# The limits of a rule


def limits_within(limits: Limits, options: Options) -> Limits:
    return replace(
        limits,
        latency_usec=options.latency_usec or limits.latency_usec,
        max_buffer_octets=min(
            limits.max_buffer_octets, options.max_buffer_octets or limits.max_buffer_octets
        ),
        max_streams=options.max_streams or limits.max_streams,
        max_memory_octets=options.max_memory_octets or limits.max_memory_octets,
    )


def answer_within(
    asked: HwParams, config: StreamConfig, limits: Limits, options: Options
) -> HwParams:
    """Answer as answer_query() does, within the rule. AccessDenied: only the rule does not allow
    it."""
    narrowed = _narrowed(config, options)
    if narrowed is None:
        raise AccessDenied("the rule allows no format or no rate of this card")
    try:
        return answer_query(asked, narrowed, limits_within(limits, options))
    except NothingInCommon as error:
        answer_query(asked, config, limits)  # raises if the rule is not the reason
        raise AccessDenied(f"asked for {error} by the rule") from None


def complaint(request: SoundParameters, options: Options) -> str | None:
    """Return why the rule does not allow these parameters; None: it does."""
    formats, rates = options.formats, options.rates_hz
    if formats is not None and request.sample_format not in formats:
        allowed = ", ".join(each.wire_name for each in formats)
        return f"format {request.sample_format.wire_name}, the rule allows {allowed}"
    if rates is not None and request.rate_hz not in rates:
        return f"rate {request.rate_hz} Hz, the rule allows {', '.join(map(str, rates))}"
    largest = options.max_buffer_octets
    if largest is not None and request.buffer_octets > largest:
        return f"buffer {request.buffer_octets} octets, the rule allows {largest}"
    return None


def _narrowed(config: StreamConfig, options: Options) -> StreamConfig | None:
    formats, rates = config.formats, config.rates
    if options.formats is not None:
        formats = tuple(each for each in formats if each in options.formats)
    if options.rates_hz is not None:
        rates = tuple(sorted(each for each in options.rates_hz if config.allows_rate(each)))
    if not formats or (options.rates_hz is not None and not rates):
        return None
    return replace(config, formats=formats, rates=rates)
