"""What a person has set for a guest: kept while the guest runs.

What was set is kept for the next agent as well, in a small file a guest in the runtime directory.
Only the agent writes it; still it is checked before it is used.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xensnd.files import replace_file
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-dom0")

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


def untouched() -> dict[Direction, Knobs]:
    return {direction: Knobs() for direction in Direction}


class KnobRecord:
    """`owner` says whose knobs they are, such as the guest's uuid: nobody else gets them."""

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = owner

    def save(self, knobs: Mapping[Direction, Knobs]) -> None:
        said = {name.value: [each.percent, each.is_muted] for name, each in knobs.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            octets = json.dumps({"owner": self._owner, **said}).encode()
            # The directory is memory: it need not outlive a crash of the machine.
            replace_file(self._path, octets, is_synced=False)
        except OSError as error:
            log.warning("%s: %s; it holds until the agent ends", self._path, error.strerror)

    def load(self) -> dict[Direction, Knobs]:
        """Untouched, if nothing good is there."""
        try:
            said = json.loads(self._path.read_text())
            if said["owner"] != self._owner:
                return untouched()
            return {direction: _read(said[direction.value]) for direction in Direction}
        except (OSError, ValueError, KeyError, TypeError):
            return untouched()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _read(said: Any) -> Knobs:
    percent, is_muted = said
    if type(is_muted) is not bool:
        raise ValueError(is_muted)
    if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
        raise ValueError(percent)
    return Knobs(percent, is_muted)
