"""A frontend that plays as PulseAudio does: its buffer is always full, and a sound that begins is
written over what is in it, from just behind the position that was told.
"""

from __future__ import annotations

from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, words
from tests.support.shared_pages import IN_CONS_OFFSET, IN_PROD_OFFSET
from xensnd.sndif.packets import Status, Trigger, TriggerRequest, Write

FRAME_OCTETS = 4
# PulseAudio rewinds to 1.33 ms behind the position.
MARGIN_OCTETS = 64 * FRAME_OCTETS


class RewindingFrontend:
    """Plays silence from the beginning on. Positions are octets since then."""

    def __init__(self, stream: RawStream) -> None:
        self._stream = stream
        self._written = 0
        self.position = 0
        assert stream.ask(stream.good_open()) == Status.OK
        self._fill()
        assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK

    def play_on(self, octets: int) -> None:
        """Until the position has moved by so much."""
        end = self.position + octets
        while self.position < end:
            self.position = self._stream.next_position()
            events = self._stream.event_words
            events[IN_CONS_OFFSET // 4] = events[IN_PROD_OFFSET // 4]
            self._fill()

    def begin(self, sound: bytes) -> None:
        """Writes a sound, and silence behind it, over what the buffer has."""
        self._written = self.position + MARGIN_OCTETS
        self._write(sound)
        self._fill()

    def _fill(self) -> None:
        """With silence, up to a lap ahead of the position."""
        self._write(bytes(self.position + BUFFER_OCTETS - self._written))

    def _write(self, octets: bytes) -> None:
        while octets:
            at = self._written % BUFFER_OCTETS
            part, octets = octets[: BUFFER_OCTETS - at], octets[BUFFER_OCTETS - at :]
            words(self._stream.buffer).cast("B")[at : at + len(part)] = part
            assert self._stream.ask(Write(at, len(part))) == Status.OK
            self._written += len(part)
