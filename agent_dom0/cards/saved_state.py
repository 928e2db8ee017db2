"""The saved state of an open stream: the parameters of OPEN, the person's answer about the stream,
and the positions, which the core keeps only there.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

from agent_dom0.streams.saved_record import OWNER, AnswerPlace, SavedRecord
from xensnd.control.answers import Answer
from xensnd.core import PCM_STATE_OCTETS
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.formats import format_from_wire
from xensnd.sndif.packets import Open

_MAGIC = b"xensnd-2"
_OPEN = struct.Struct(f"<{OWNER}?3xIB3xBxxxIII")
_ANSWER = AnswerPlace(answer=120, name=124)
_PCM_AT = 128


def is_left_open(path: Path) -> bool:
    """Return whether this file seems to be the saved state of an open stream. load() says more."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


class SavedState(SavedRecord):
    def __init__(self, path: Path, owner: str, name: Callable[[], str]) -> None:
        super().__init__(
            path,
            owner,
            name,
            magic=_MAGIC,
            layout=_OPEN,
            core_at=_PCM_AT,
            core_octets=PCM_STATE_OCTETS,
        )

    @property
    def pcm_address(self) -> int:
        """Where the core keeps the positions."""
        return self._core_address

    @property
    def pcm_offset(self) -> int:
        """Where that is in the file."""
        return _PCM_AT

    def save(self, request: Open, *, running: bool) -> None:
        self._write(
            running,
            request.rate_hz,
            request.sample_format,
            request.channels,
            request.buffer_octets,
            request.period_octets,
            request.directory_ref,
        )

    def save_answer(self, answer: Answer | None) -> None:
        """Save the person's answer about the open stream."""
        self._write_answer(_ANSWER, answer)

    def load(self) -> tuple[Open, bool, Answer | None] | None:
        """Return the open stream, whether it runs, and the person's answer about it; None if there
        is no open stream of this owner."""
        values = self._read()
        if values is None:
            return None
        running, rate_hz, wire_format, channels, buffer, period, ref = values
        with contextlib.suppress(RemoteProtocolError):
            sample_format = format_from_wire(wire_format)
            request = Open(rate_hz, sample_format, channels, buffer, period, ref)
            return request, running, self._read_answer(_ANSWER)
        return None

    def clear(self) -> None:
        self.save_answer(None)
        self._erase()
