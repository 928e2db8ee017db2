"""A guest writes over what it has written before: PulseAudio in a guest rewinds when a sound begins
while another one, or silence, is written already.
"""

from __future__ import annotations

from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, words
from xensnd.sndif.packets import Status, Trigger, TriggerRequest, Write

# So much of the guest's 341 ms is at the server at once.
OPTIONS = ("--latency=250",)
FRAME_OCTETS = 4
OCTETS_A_MSEC = 192


def write(stream: RawStream, at: int, sound: bytes) -> None:
    words(stream.buffer).cast("B")[at : at + len(sound)] = sound
    assert stream.ask(Write(at, len(sound))) == Status.OK


def test_sound_written_over_what_the_server_has_is_heard_from_its_first_frame(
    pulse: PulseServer, stream: RawStream
) -> None:
    before = noise(BUFFER_OCTETS / 192000)
    with pulse.listening() as ears:
        assert stream.ask(stream.good_open()) == Status.OK
        write(stream, 0, before)
        assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
        at = stream.next_position() + 100 * OCTETS_A_MSEC
        at -= at % FRAME_OCTETS
        instead = noise((BUFFER_OCTETS - at) / 192000, seed=2)
        write(stream, at, instead)
        played = before[:at] + instead
        assert ears.hears(played), difference(played, ears.heard)
