"""Which sinks have more streams than PulseAudio mixes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from agent_dom0.audio.crowded_sinks import MIXED_MAX, NEARLY, CrowdedSink, find_crowded_sinks


class CountedServer:
    """Of pulsectl's connection what is asked. `playing` and `corked`: streams at each sink."""

    def __init__(
        self,
        playing: Sequence[int],
        corked: Sequence[int] = (),
        name: str = "pulseaudio",
    ) -> None:
        self._name = name
        self._inputs = [
            SimpleNamespace(sink=sink, corked=is_corked)
            for is_corked, counts in ((False, playing), (True, corked))
            for sink, count in enumerate(counts)
            for _ in range(count)
        ]
        self._sinks = [SimpleNamespace(index=index, name=f"sink-{index}") for index in range(3)]

    def server_info(self) -> Any:
        return SimpleNamespace(server_name=self._name)

    def sink_input_list(self) -> list[Any]:
        return self._inputs

    def sink_list(self) -> list[Any]:
        return self._sinks


def test_sinks_are_told_when_nearly_as_many_streams_play_as_are_mixed() -> None:
    found = find_crowded_sinks(CountedServer([NEARLY - 1, NEARLY, MIXED_MAX + 8]))
    assert found == (CrowdedSink("sink-1", NEARLY), CrowdedSink("sink-2", MIXED_MAX + 8))


def test_corked_streams_do_not_count() -> None:
    assert find_crowded_sinks(CountedServer([NEARLY - 1], corked=[MIXED_MAX])) == ()


def test_pipewire_mixes_all() -> None:
    server = CountedServer([4 * MIXED_MAX], name="PulseAudio (on PipeWire 1.4.2)")
    assert find_crowded_sinks(server) == ()
