"""A guest writes over what it has written before: PulseAudio in a guest rewinds when a sound begins
while another one, or silence, is written already.
"""

from __future__ import annotations

from tests.support.agents import Dom0
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, eventually, words
from tests.support.rewinding_frontend import RewindingFrontend
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


def test_sound_written_over_what_was_heard_is_counted(stream: RawStream, dom0: Dom0) -> None:
    assert stream.ask(stream.good_open()) == Status.OK
    write(stream, 0, noise(BUFFER_OCTETS / 192000))
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    position = 0
    while position < 100 * OCTETS_A_MSEC:
        position = stream.next_position()
    assert dom0.stream("work")["late_octets"] == 0
    write(stream, 0, noise(BUFFER_OCTETS / 192000, seed=2))
    assert eventually(lambda: dom0.stream("work")["late_octets"] >= 100 * OCTETS_A_MSEC)


def test_sounds_that_begin_in_silence_are_heard_from_their_first_frame(
    pulse: PulseServer, stream: RawStream, dom0: Dom0
) -> None:
    """However late each is: the position that its guest was told is older than what was heard, and
    the server's sink has rendered more. The last one comes when the server was corked."""
    sounds = [noise(0.1, seed=seed) for seed in range(1, 6)]
    with pulse.listening() as ears:
        frontend = RewindingFrontend(stream)
        frontend.play_on(300 * OCTETS_A_MSEC)
        for sound in sounds[:-1]:
            frontend.begin(sound)
            frontend.play_on(600 * OCTETS_A_MSEC)
        frontend.play_on(2500 * OCTETS_A_MSEC)
        frontend.begin(sounds[-1])
        frontend.play_on(400 * OCTETS_A_MSEC)
        for sound in sounds:
            assert ears.hears(sound), difference(sound, ears.heard)
    assert dom0.stream("work")["late_octets"] == 0
