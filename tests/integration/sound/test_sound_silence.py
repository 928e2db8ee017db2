"""Silence that lasts costs the audio server nothing, and what follows is heard whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agents import SECOND_OCTETS, Ended, Guest
from tests.support.pulse_server import PulseServer, difference, noise, sink_input, write_wav
from tests.support.raw_frontend import eventually

pytestmark = pytest.mark.usefixtures("dom0")

PLAYED = Ended(0)


def test_silence_corks_the_sink_input_and_the_next_sound_is_whole(
    pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    before, after = noise(0.3, seed=1), noise(0.3, seed=2)
    file = write_wav(tmp_path / "pause.wav", before + bytes(3 * SECOND_OCTETS) + after)
    with (
        pulse.listening() as ears,
        work.start("play", str(file)) as playing,
        sink_input(pulse, work.name) as shown,
    ):
        assert ears.hears(before), difference(before, ears.heard)
        assert not shown().corked
        assert eventually(lambda: shown().corked)
        assert playing.ended() == PLAYED
        assert ears.hears(after), difference(after, ears.heard)
