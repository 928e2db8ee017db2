"""A guest breaks the rules: its own session ends or is refused, and nobody else notices.

The hostile guest is this process, with a guest's rights and its pages in raw octets. A neighbour
plays all the while, and must be heard octet for octet.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agent_dom0.cards.card_stream import FAULTS_MAX
from tests.hostile.evil_guest import EvilGuest
from tests.support.agents import Dom0, Ended, Guest, Neighbour, neighbour_of
from tests.support.heard import FRAME_OCTETS
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, left_of, noise, on_left
from tests.support.raw_frontend import BUFFER_OCTETS, eventually, words
from tests.support.shared_pages import (
    DIRECTORY_REFS_OFFSET,
    IN_CONS_OFFSET,
    REQ_PROD_OFFSET,
    RING_SLOTS,
    RSP_PROD_OFFSET,
)
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.sndif.packets import (
    PACKET_OCTETS,
    Close,
    GetVolume,
    HwParamQuery,
    Mute,
    Read,
    Request,
    SetVolume,
    Status,
    Trigger,
    TriggerRequest,
    Write,
    encode_request,
)
from xensnd.sndif.params import HwParams, Interval
from xensnd.sndif.states import XenbusState

PLAYED = Ended(0)
ALL = Interval(1, 2**32 - 1)
START = TriggerRequest(Trigger.START)


@pytest.fixture(scope="module")
def neighbour(machine: LocalMachine, dom0: Dom0, pulse: PulseServer) -> Iterator[Neighbour]:
    _ = dom0
    with neighbour_of(pulse, Guest(machine, "neighbour")) as neighbour:
        yield neighbour


def assert_well(dom0: Dom0, neighbour: Neighbour, guest: Guest) -> None:
    """The agent is; and the guest, if it minds the rules, can play."""
    assert "the agent died" not in dom0.log
    neighbour.assert_undisturbed()
    played = noise(0.05, frame_octets=2)
    before = len(neighbour.ears.heard) // FRAME_OCTETS * FRAME_OCTETS
    assert guest.run("play", "-", stdin=on_left(played)) == PLAYED
    heard = neighbour.ears.listen_until(lambda heard: played in left_of(heard[before:]), 5)
    assert played in left_of(heard[before:]), difference(played, left_of(heard[before:]))
    assert "Traceback" not in dom0.log


@pytest.fixture
def guest(new_guest: Callable[[str], Guest], dom0: Dom0, neighbour: Neighbour) -> Iterator[Guest]:
    """The guest that turns hostile."""
    guest = new_guest("evil")
    yield guest
    assert_well(dom0, neighbour, guest)


@pytest.fixture
def again(machine: LocalMachine, dom0: Dom0, guest: Guest) -> Callable[[], EvilGuest]:
    """`with again() as evil:`, as often as a test wants."""
    return lambda: EvilGuest(machine, dom0, guest)


@pytest.fixture
def evil(again: Callable[[], EvilGuest]) -> Iterator[EvilGuest]:
    with again() as evil:
        yield evil


def closed(text: str) -> str:
    return f"evil: device 0: {text}; the device is closed"


# Requests: each wrong one is answered with an error; after 64 of them the session ends


def test_requests_that_no_one_knows_are_refused(evil: EvilGuest) -> None:
    stream = evil.connect()
    packets = [
        bytes([number, 0, operation]) + bytes(61) for number, operation in enumerate((10, 99, 255))
    ]
    assert stream.send(*packets) == [Status.EINVAL] * 3
    assert evil.violation() == "evil: playback 0/0: unknown operation 10, allowed 0 to 9"
    assert stream.ask(Close()) == Status.OK
    assert evil.backend_state() is XenbusState.CONNECTED


def test_garbage_in_the_ring_closes_the_session(evil: EvilGuest) -> None:
    stream, random = evil.connect(), Random(1)
    for _ in range(4 * RING_SLOTS):
        packet = bytearray(random.randbytes(PACKET_OCTETS))
        packet[2] |= 16  # no operation, and so surely wrong
        stream.put(bytes(packet))
        stream.requests.notify()
        if not eventually(lambda: stream.ring[RSP_PROD_OFFSET // 4] == stream.sent, 0.5):
            break
    evil.await_backend(XenbusState.CLOSED)
    assert evil.violation() == closed("stream 0/0: 64 requests were invalid")


def test_requests_before_open_are_refused(again: Callable[[], EvilGuest]) -> None:
    requests: dict[Request, str | None] = {
        Write(0, 4096): None,
        Read(0, 4096): None,
        START: "START while the stream is CLOSED, allowed OPEN, CLOSE",
        SetVolume(0, 8): "SET_VOLUME before OPEN",
        Mute(0, 2): "MUTE before OPEN",
    }
    for request, said in requests.items():
        with again() as evil:
            stream = evil.connect()
            assert stream.ask(request) == Status.EINVAL, request
            if said is not None:
                assert evil.violation() == f"evil: playback 0/0: {said}"
            assert evil.backend_state() is XenbusState.CONNECTED


WRONG_OPENS: list[tuple[dict[str, Any], str | None]] = [
    ({"buffer_octets": 2**32 - 4}, "OPEN buffer 4294967292 octets, limit 262144"),
    ({"buffer_octets": 0}, "OPEN buffer 0 octets, limit 262144"),
    (
        {"buffer_octets": 65535},
        "OPEN buffer 65535 octets is not a whole number of frames of 4 octets",
    ),
    (
        {"period_octets": 2**32 - 4},
        "OPEN period 4294967292 octets, allowed 0 to 65536 in frames of 4",
    ),
    ({"channels": 0}, "OPEN with 0 channels, configured 1-2"),
    ({"channels": 255}, "OPEN with 255 channels, configured 1-2"),
    ({"rate_hz": 0}, "OPEN rate 0 Hz, configured 8000-192000"),
    ({"rate_hz": 2**32 - 1}, "OPEN rate 4294967295 Hz, configured 8000-192000"),
    ({"sample_format": SampleFormat.GSM}, None),
    ({"directory_ref": 0}, "page directory names 0 pages, the buffer has 16"),
    ({"directory_ref": 999999}, "dom{} (evil) grants no page 999999 to dom0 (Domain-0)"),
]


def test_open_of_what_cannot_be_is_refused(guest: Guest, again: Callable[[], EvilGuest]) -> None:
    for change, said in WRONG_OPENS:
        with again() as evil:
            stream = evil.connect()
            assert stream.ask(replace(stream.good_open(), **change)) == Status.EINVAL, change
            if said is not None:
                assert evil.violation() == f"evil: playback 0/0: {said.format(guest.domid)}"
            assert stream.ask(stream.good_open()) == Status.OK


def test_page_directory_that_leads_to_itself_ends(evil: EvilGuest) -> None:
    stream = evil.connect()
    request = stream.good_open()
    words(stream.directory)[0] = stream.directory.refs[0]
    assert stream.ask(request) == Status.OK
    assert stream.ask(START) == Status.OK


def test_page_directory_that_names_ungranted_pages_is_refused(
    guest: Guest, evil: EvilGuest
) -> None:
    stream = evil.connect()
    request = stream.good_open()
    words(stream.directory)[DIRECTORY_REFS_OFFSET // 4 + 7] = 888888
    assert stream.ask(request) == Status.EINVAL
    assert evil.violation() == (
        f"evil: playback 0/0: dom{guest.domid} (evil) grants no page 888888 to dom0 (Domain-0)"
    )


def test_pages_taken_back_while_they_sound_are_harmless(evil: EvilGuest) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK
    assert stream.ask(START) == Status.OK
    stream.buffer.close()
    stream.directory.close()
    assert stream.ask(Write(0, BUFFER_OCTETS // 2)) == Status.OK
    assert stream.ask(Close()) == Status.OK


def test_parts_that_lie_outside_of_the_buffer_are_refused(evil: EvilGuest) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    for span in (
        (BUFFER_OCTETS, 4),
        (2**32 - 4, 8),
        (4, BUFFER_OCTETS),
        (0, 2**32 - 4),
        (0, 3),
        (BUFFER_OCTETS - 4, 2**32 - BUFFER_OCTETS + 8),
    ):
        assert stream.ask(Write(*span)) == Status.EINVAL, span


def test_volumes_that_lie_outside_of_the_buffer_are_refused(evil: EvilGuest) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    for offset in (BUFFER_OCTETS - 4, BUFFER_OCTETS, 2**32 - 4):
        assert stream.ask(SetVolume(offset, 8)) == Status.EINVAL, offset
        assert stream.ask(GetVolume(offset, 8)) == Status.EINVAL, offset
    said = f"octets {BUFFER_OCTETS - 4}+8 are not in the buffer"
    assert evil.violation() == f"evil: playback 0/0: {said}"


def test_parameters_asked_upside_down_are_refused(evil: EvilGuest) -> None:
    stream = evil.connect()
    query = HwParamQuery(HwParams(2**64 - 1, ALL, ALL, ALL, ALL))
    packet = bytearray(encode_request(0, query))
    assert stream.send(bytes(packet)) == [Status.OK]
    packet[16:24] = struct.pack("<II", 48000, 8000)
    assert stream.send(bytes(packet)) == [Status.EINVAL]
    assert evil.violation() == (
        "evil: playback 0/0: rates 48000-8000: the minimum exceeds the maximum"
    )


def test_asking_for_what_the_card_cannot_do_is_no_offence(dom0: Dom0, evil: EvilGuest) -> None:
    """Players try rates and buffers until one fits."""
    before = len(dom0.events("protocol_violation"))
    stream = evil.connect()
    too_fast = Interval(384000, 768000)
    for _ in range(FAULTS_MAX + 1):
        query = HwParamQuery(HwParams(2**64 - 1, too_fast, ALL, ALL, ALL))
        assert stream.ask(query) == Status.EINVAL
    assert stream.ask(stream.good_open()) == Status.OK
    assert len(dom0.events("protocol_violation")) == before


def test_trigger_that_no_one_knows_is_refused(evil: EvilGuest) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    packet = bytearray(encode_request(0, START))
    packet[8] = 200
    assert stream.send(bytes(packet)) == [Status.EINVAL]
    assert evil.violation() == "evil: playback 0/0: unknown trigger 200, allowed 0 to 3"


# The shared pages


def test_ring_index_beyond_the_ring_closes_the_session(again: Callable[[], EvilGuest]) -> None:
    for index in (RING_SLOTS + 1, 1000, 2**31, 2**32 - 1):
        with again() as evil:
            stream = evil.connect()
            stream.ring[REQ_PROD_OFFSET // 4] = index
            stream.requests.notify()
            evil.await_backend(XenbusState.CLOSED)
            assert evil.violation() == closed(
                "stream 0/0: the request ring's index is out of range"
            )


def test_event_page_that_nobody_reads_is_harmless(evil: EvilGuest) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    stream.event_words[IN_CONS_OFFSET // 4] = 2**31
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK
    assert stream.ask(START) == Status.OK
    assert stream.ask(Close()) == Status.OK


def mute_evil(pulse: PulseServer) -> None:
    """So that the neighbour is heard alone, whatever it is that the guest makes sound."""
    with pulse.mixer() as mixer:
        named = "evil playback"
        assert eventually(lambda: any(each.name == named for each in mixer.sink_input_list()))
        for each in mixer.sink_input_list():
            if each.name == named:
                mixer.mute(each)


def test_one_page_for_everything_is_harmless(
    dom0: Dom0, guest: Guest, pulse: PulseServer, evil: EvilGuest
) -> None:
    evil.offer_rings()
    for number, each in enumerate(evil.streams):
        evil.write({f"0/{number}/evt-ring-ref": str(each.rings.ring_ref)})
    stream = evil.finish_connecting()
    request = stream.good_open()
    for number in range(BUFFER_OCTETS // PAGE_OCTETS):
        words(stream.directory)[DIRECTORY_REFS_OFFSET // 4 + number] = stream.ring_page.refs[0]
    assert stream.ask(request) == Status.OK
    mute_evil(pulse)
    stream.put(encode_request(1, START))
    stream.requests.notify()
    stream.put(encode_request(2, Write(0, BUFFER_OCTETS)))
    stream.requests.notify()
    dom0.await_event("stream_opened", domid=guest.domid)


def test_pages_scribbled_on_without_end_are_harmless(pulse: PulseServer, evil: EvilGuest) -> None:
    stream, random = evil.connect(), Random(3)
    assert stream.ask(stream.good_open()) == Status.OK
    mute_evil(pulse)
    assert stream.ask(START) == Status.OK
    deadline = time.monotonic() + 1
    places = [stream.ring, stream.event_words, words(stream.buffer), words(stream.directory)]
    while time.monotonic() < deadline:
        for _ in range(100):
            page = random.choice(places)
            page[random.randrange(len(page))] = random.getrandbits(32)
        stream.requests.notify()
        stream.events.notify()
        time.sleep(0.001)


# The handshake and the nodes


def test_ring_that_was_not_granted_closes_the_device(guest: Guest, evil: EvilGuest) -> None:
    evil.offer_rings()
    evil.write({"0/0/ring-ref": "777777"})
    evil.enter(XenbusState.INITIALISED)
    evil.await_backend(XenbusState.CLOSED)
    assert evil.violation() == closed(
        f"dom{guest.domid} (evil) grants no page 777777 to dom0 (Domain-0)"
    )


def test_event_channel_that_is_not_there_closes_the_device(guest: Guest, evil: EvilGuest) -> None:
    evil.offer_rings()
    evil.write({"0/1/evt-event-channel": "4000"})
    evil.enter(XenbusState.INITIALISED)
    evil.await_backend(XenbusState.CLOSED)
    assert evil.violation() == closed(
        f"dom{guest.domid} (evil) offers no event channel 4000 to dom0 (Domain-0)"
    )


def test_card_rewritten_to_nonsense_closes_the_device(again: Callable[[], EvilGuest]) -> None:
    for node, text, said in (
        ("0/0/type", "x", "0/0/type holds 'x', allowed 'p' or 'c'"),
        ("0/0/ring-ref", "-1", "ring-ref holds '-1', allowed 1 to 4294967295"),
        (
            "0/0/ring-ref",
            "9" * 2000,
            "ring-ref holds '" + "9" * 40 + "'..., allowed 1 to 4294967295",
        ),
        ("0/0/channels-max", "0", "0/0/channels-max holds '0', allowed 1 to 255"),
        ("0/0/buffer-size", "no", "0/0/buffer-size holds 'no', allowed 1 to 4294967295"),
    ):
        with again() as evil:
            evil.offer_rings()
            before = evil.read(node)
            evil.write({node: text})
            evil.enter(XenbusState.INITIALISED)
            evil.await_backend(XenbusState.CLOSED)
            assert evil.violation() == closed(said)
            evil.write({node: before})


def test_streams_with_a_gap_between_them_close_the_device(evil: EvilGuest) -> None:
    evil.offer_rings()
    evil.write({"0/7/type": "p"})
    evil.enter(XenbusState.INITIALISED)
    evil.await_backend(XenbusState.CLOSED)
    assert evil.violation() == closed("stream 0/2 is missing, though 3 are there")
    evil.store.remove("device/vsnd/0/0/7")


def test_playback_rewritten_to_capture_is_asked_as_capture_and_denied(
    dom0: Dom0, guest: Guest, evil: EvilGuest
) -> None:
    evil.write({"0/0/type": "c"})
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    decision = dom0.await_event("decision", domid=guest.domid)
    assert (decision["XENSND_DIRECTION"], decision["XENSND_DECISION"]) == ("capture", "deny")
    evil.write({"0/0/type": "p"})


def test_backend_rewritten_to_that_of_another_guest_changes_nothing(
    dom0: Dom0, guest: Guest, evil: EvilGuest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    dom0.await_event("device_made", domid=other.domid)
    backend = evil.read("backend")
    evil.write({"backend": f"/local/domain/0/backend/vsnd/{other.domid}/0", "backend-id": "7"})
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    dom0.await_event("decision", guest="evil", domid=guest.domid)
    assert dom0.events("decision", domid=other.domid) == []
    evil.write({"backend": backend, "backend-id": "0"})


def test_state_of_nonsense_ends_the_session(
    dom0: Dom0, guest: Guest, again: Callable[[], EvilGuest]
) -> None:
    texts = ("", "abc", "99", "-1", "4294967296", "\n4", "0" * 2000)
    for count, text in enumerate(texts, start=1):
        with again() as evil:
            stream = evil.connect()
            assert stream.ask(stream.good_open()) == Status.OK
            evil.write({"state": text})
            evil.await_backend(XenbusState.CLOSED)
            dom0.await_event("device_disconnected", domid=guest.domid, count=count)


def test_nodes_removed_while_it_plays_end_the_session(
    dom0: Dom0, guest: Guest, evil: EvilGuest
) -> None:
    stream = evil.connect()
    assert stream.ask(stream.good_open()) == Status.OK
    nodes = {name: evil.read(name) for name in ("state", "0/0/type")}
    evil.store.remove("device/vsnd/0/0/0/type")
    evil.store.remove("device/vsnd/0/state")
    evil.await_backend(XenbusState.CLOSED)
    dom0.await_event("device_disconnected", domid=guest.domid)
    evil.write(nodes)


def test_states_that_make_no_sense_close_the_device(dom0: Dom0, evil: EvilGuest) -> None:
    evil.connect()
    before = len(dom0.log.splitlines())

    def is_closed() -> bool:
        evil.enter(XenbusState.RECONFIGURING)
        evil.enter(XenbusState.RECONFIGURED)
        return evil.backend_state() is XenbusState.CLOSED

    assert eventually(is_closed)
    assert evil.violation() == closed("64 unexpected states of the frontend")
    assert len(dom0.log.splitlines()) - before < 10


def test_guest_that_comes_and_goes_too_fast_waits_and_is_served_again(
    dom0: Dom0, guest: Guest, evil: EvilGuest
) -> None:
    def comes() -> bool:
        evil.enter(XenbusState.INITIALISED)
        return bool(eventually(lambda: evil.backend_state() is not XenbusState.INIT_WAIT, 0.5))

    evil.offer_rings()
    while comes():
        evil.enter(XenbusState.CLOSED)
        evil.await_backend(XenbusState.INIT_WAIT)
    held = dom0.await_event("limit_hit", guest="evil", domid=guest.domid)
    assert held["MESSAGE"] == (
        "evil: more than 8 connections of its cards, and than 1 a second; the next ones wait"
    )
    evil.await_backend(XenbusState.CONNECTED)
