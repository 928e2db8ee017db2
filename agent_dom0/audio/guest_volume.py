"""Volume and mute that a person has set for a guest. They are kept while the guest runs.

The next agent finds them in a small file for each guest, in the runtime directory. Only the agent
writes it; it is checked all the same before it is used.
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

# Silence in the protocol's units.
SILENCE_MILLI_DB = -200_000


@dataclass(slots=True)
class GuestVolume:
    """The settings for all streams of a guest in one direction, made through the control socket."""

    percent: int | None = None  # as mixers show it; None: never set
    is_muted: bool = False

    @property
    def milli_db(self) -> int | None:
        """PulseAudio's percents are a cubic scale."""
        if self.percent is None:
            return None
        if self.percent == 0:
            return SILENCE_MILLI_DB
        return round(60_000 * math.log10(self.percent / 100))


def unset_volumes() -> dict[Direction, GuestVolume]:
    return {direction: GuestVolume() for direction in Direction}


class VolumeFile:
    """The file of one guest's settings. `owner` identifies the guest, such as its UUID; only the
    same owner gets them back."""

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = owner

    def save(self, volumes: Mapping[Direction, GuestVolume]) -> None:
        saved = {name.value: [each.percent, each.is_muted] for name, each in volumes.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            octets = json.dumps({"owner": self._owner, **saved}).encode()
            # The directory is in memory, so the file need not survive a crash of the machine.
            replace_file(self._path, octets, is_synced=False)
        except OSError as error:
            log.warning("%s: %s; a new agent will not know the volume", self._path, error.strerror)

    def load(self) -> dict[Direction, GuestVolume]:
        """Return the settings, or unset ones if there is no valid file."""
        try:
            saved = json.loads(self._path.read_text())
            if saved["owner"] != self._owner:
                return unset_volumes()
            return {direction: _read(saved[direction.value]) for direction in Direction}
        except (OSError, ValueError, KeyError, TypeError):
            return unset_volumes()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _read(saved: Any) -> GuestVolume:
    percent, is_muted = saved
    if type(is_muted) is not bool:
        raise ValueError(is_muted)
    if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
        raise ValueError(percent)
    return GuestVolume(percent, is_muted)
