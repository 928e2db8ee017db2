"""A guest writes over what it has written before: PulseAudio in a guest rewinds when a sound begins
while another one, or silence, is written already.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

import pytest

from tests.support.agents import Dom0, Guest, driver_of
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream, words
from tests.support.shared_pages import EVENT_HEADER_OCTETS, EVENT_SLOTS, IN_PROD_OFFSET
from xensnd.sndif.packets import PACKET_OCTETS, Status, Trigger, TriggerRequest, Write, decode_event

# So much of the guest's 341 ms is at the server at once.
OPTIONS = ("--latency=250",)
FRAME_OCTETS = 4
OCTETS_A_MSEC = 192


@pytest.fixture
def stream(
    machine: LocalMachine, dom0: Dom0, new_guest: Callable[[str], Guest]
) -> Iterator[RawStream]:
    """A playback of a guest's that has connected, and not opened yet."""
    with driver_of(machine, dom0, new_guest("work")) as frontend:
        yield frontend.connect()


def next_position(stream: RawStream) -> int:
    """What the backend tells next."""
    assert select.select([stream.events.fds.wait_fd], [], [], 10)[0]
    os.eventfd_read(stream.events.fds.wait_fd)
    last = stream.event_words[IN_PROD_OFFSET // 4] - 1
    at = EVENT_HEADER_OCTETS + last % EVENT_SLOTS * PACKET_OCTETS
    octets = stream.event_words.cast("B")
    return decode_event(bytes(octets[at : at + PACKET_OCTETS]))[1].position_octets


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
        at = next_position(stream) + 100 * OCTETS_A_MSEC
        at -= at % FRAME_OCTETS
        instead = noise((BUFFER_OCTETS - at) / 192000, seed=2)
        write(stream, at, instead)
        played = before[:at] + instead
        assert ears.hears(played), difference(played, ears.heard)
