"""The limits of a rule, applied to what a stream may be: answers are narrowed, requests refused."""

from __future__ import annotations

from dataclasses import replace

from agent_dom0.parameters import Limits, answer_query
from policy.model import Options
from xensnd.errors import AccessDenied
from xensnd.sndif.packets import Open
from xensnd.sndif.params import HwParams, NothingInCommon
from xensnd.sndif.store_fields import StreamConfig


def limits_within(limits: Limits, options: Options) -> Limits:
    return replace(
        limits,
        latency_usec=options.latency_usec or limits.latency_usec,
        max_buffer_octets=min(
            limits.max_buffer_octets, options.max_buffer_octets or limits.max_buffer_octets
        ),
    )


def answer_within(
    asked: HwParams, config: StreamConfig, limits: Limits, options: Options
) -> HwParams:
    """As answer_query(); AccessDenied: we could do what is asked, and the rule does not want it."""
    narrowed = _narrowed(config, options)
    if narrowed is None:
        raise AccessDenied("the rule leaves no format or no rate of this card")
    try:
        return answer_query(asked, narrowed, limits_within(limits, options))
    except NothingInCommon as error:
        answer_query(asked, config, limits)  # raises, if it is not for the rule
        raise AccessDenied(f"asked for {error} by the rule") from None


def complaint(request: Open, options: Options) -> str | None:
    """Why the rule does not want this stream; None: it does."""
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
