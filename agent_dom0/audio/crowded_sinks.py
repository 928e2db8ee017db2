"""Sinks that more streams play into than are mixed.

PulseAudio mixes 32 streams that are not corked, from all programs together, and drops the sound of
the others without telling anyone. It has no setting for that. PipeWire mixes all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

MIXED_MAX = 32
# From so many on it is told, so that it is known before anything is lost.
NEARLY = MIXED_MAX * 7 // 8


@dataclass(frozen=True, slots=True)
class CrowdedSink:
    name: str
    streams: int  # of any program, that are not corked
    mixed_max: int = MIXED_MAX


def find_crowded_sinks(pulse: Any) -> tuple[CrowdedSink, ...]:
    """Return the sinks with NEARLY streams or more, by name. `pulse` is a connection of pulsectl's;
    raises what that raises."""
    counts = Counter(each.sink for each in pulse.sink_input_list() if not each.corked)
    crowded = {index: count for index, count in counts.items() if count >= NEARLY}
    if not crowded or "PipeWire" in pulse.server_info().server_name:
        return ()
    sinks = sorted(
        (each.name, crowded[each.index]) for each in pulse.sink_list() if each.index in crowded
    )
    return tuple(CrowdedSink(name, count) for name, count in sinks)
