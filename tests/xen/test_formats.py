"""Every rate and format that the stock driver and dom0's audio server have in common, exact: each
rate in one format, and each format at three rates.

The guest records what it plays: the sink has the guest's own rate and format, and the guest's
microphone is that sink's monitor, which a rule allows by its name. Nobody else listens: dom0's
emulated processor has no time for that at 192 kHz, and then the guest underruns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from random import Random

import pytest

from agent_dom0.cards.toolstack import RATES
from tests.support.audit_table import told
from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import EVENT_SECONDS, Agent, Pulse
from tests.xen.guest import start_playing, start_recording
from tests.xen.lab import XenGuest, wait_until
from tests.xen.remote import Ended

EXACT = "exact"
POLICY = f"""\
version: 1
rules:
  - guest: "*"
    playback: allow
  - guest: "*"
    capture: allow
    device: {EXACT}.monitor
    monitor: allow
"""
PLAYED = Ended(0)
FORMATS = (
    ("U8", "u8"),
    ("S16_LE", "s16le"),
    ("S24_LE", "s24-32le"),
    ("S32_LE", "s32le"),
    ("FLOAT_LE", "float32le"),
)
EACH_RATE_IN = "S16_LE"
EACH_FORMAT_AT = (min(RATES), 48000, max(RATES))
PAIRS = [
    (*each, rate_hz)
    for each in FORMATS
    for rate_hz in (RATES if each[0] == EACH_RATE_IN else EACH_FORMAT_AT)
]
SECONDS = 0.25


def sounds(alsa_format: str, rate_hz: int) -> bytes:
    """Noise that is a valid sample everywhere: floats within 1, and 24 bits in 32."""
    if alsa_format == "FLOAT_LE":
        random = Random(rate_hz)
        samples = (random.uniform(-1, 1) for _ in range(int(SECONDS * rate_hz) * 2))
        return array("f", samples).tobytes()
    octets = {"U8": 2, "S16_LE": 4, "S24_LE": 8, "S32_LE": 8}[alsa_format]
    played = bytearray(noise(SECONDS, rate_hz=rate_hz, frame_octets=octets, seed=rate_hz))
    if alsa_format == "S24_LE":
        played[3::4] = bytes(len(played) // 4)
    return bytes(played)


def has_told(agent: Agent, count: int) -> bool:
    """So many sources were admitted. The cases come so fast that some are only counted."""
    return told(agent.events(), "source_admitted") >= count


@pytest.fixture(scope="module")
def exact(pulse: Pulse) -> Iterator[str]:
    """The name of the sink that guests play on, which each case makes anew."""
    with ExitStack() as stack:
        with pulse.sink(EXACT) as monitor:  # a device that is not there cannot be preferred
            stack.enter_context(pulse.prefers(EXACT, monitor))
        yield EXACT


@pytest.mark.parametrize(("alsa_format", "pulse_format", "rate_hz"), PAIRS)
def test_format_is_played_and_recorded_octet_for_octet(
    pulse: Pulse,
    agent: Agent,
    guest: XenGuest,
    exact: str,
    alsa_format: str,
    pulse_format: str,
    rate_hz: int,
) -> None:
    played = sounds(alsa_format, rate_hz)
    spec = ("-f", alsa_format, "-r", str(rate_hz), "-c", "2")
    recordings = told(agent.events(), "source_admitted")
    with (
        pulse.sink(exact, rate_hz=rate_hz, sample_format=pulse_format),
        start_recording(guest, spec) as recording,
    ):
        recording.listen_until(len)
        records = partial(has_told, agent, recordings + 1)
        wait_until(records, EVENT_SECONDS, lambda: f"no source was admitted:\n{agent.log}")
        with start_playing(guest, played, spec) as playing:
            assert playing.ended() == PLAYED
        assert recording.hears(played), difference(played, recording.heard)
    assert agent.events("protocol_violation") == []
