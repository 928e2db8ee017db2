"""What a person has set for a guest, and how many streams it has: kept while the guest runs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from xensnd.sndif.store_fields import Direction

# As the wire says silence.
SILENCE_MILLI_DB = -200_000


@dataclass(slots=True)
class Knobs:
    """Of all the guest's streams in one direction, turned through the control socket."""

    percent: int | None = None  # as mixers show it; None: never turned
    is_muted: bool = False

    @property
    def milli_db(self) -> int | None:
        """PulseAudio's percents are a cubic scale."""
        if self.percent is None:
            return None
        if self.percent == 0:
            return SILENCE_MILLI_DB
        return round(60_000 * math.log10(self.percent / 100))


def percent_of(milli_db: int) -> int:
    return 0 if milli_db <= SILENCE_MILLI_DB else round(100 * 10 ** (milli_db / 60_000))


@dataclass(slots=True)
class Shared:
    """Between all streams of one guest."""

    knobs: dict[Direction, Knobs] = field(
        default_factory=lambda: {direction: Knobs() for direction in Direction}
    )
    open_streams: Counter[Direction] = field(default_factory=Counter)
