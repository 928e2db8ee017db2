"""What a guest writes of its vchans: the page, the nodes, the control words."""

from __future__ import annotations

import pytest

from tests.support.vchan_page import ring_pages, vchan_page
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.vchan.control import CONNECTED, ControlWord, GuestSound
from xensnd.vchan.nodes import VchanNodes, VchanOffer, parse_offer
from xensnd.vchan.page import parse_page
from xensnd.vchan.sound import VchanSound

# Left and right order, and octets: as module-vchan-sink and qubes-pw-module have them.
SERVERS = {
    "PulseAudio, playback": (11, 13),
    "PulseAudio, recording": (13, 11),
    "PipeWire, playback": (11, 16),
    "PipeWire, recording": (20, 11),
    "the largest": (20, 20),
    "both in the page": (10, 11),
    "both in the page, the other way": (11, 10),
}


@pytest.mark.parametrize("orders", SERVERS.values(), ids=SERVERS.keys())
def test_rings_of_each_server_are_found(orders: tuple[int, int]) -> None:
    left, right = orders
    refs = list(range(100, 100 + ring_pages(left) + ring_pages(right)))
    page = parse_page(vchan_page(left, right, refs))
    assert [page.left.octets, page.right.octets] == [1 << left, 1 << right]
    assert [*page.left.refs, *page.right.refs] == refs
    assert len(page.left.refs) == ring_pages(left)


def test_rings_in_the_page_begin_where_the_header_says() -> None:
    page = parse_page(vchan_page(10, 11))
    assert (page.left.offset, page.right.offset) == (1024, 2048)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (9, 12, "left ring of order 9, allowed 10 to 20"),
        (12, 21, "right ring of order 21, allowed 10 to 20"),
        (0, 65535, "left ring of order 0, allowed 10 to 20"),
        (10, 10, "both rings of order 10 in the page, allowed are 10 and 11"),
        (11, 11, "both rings of order 11 in the page, allowed are 10 and 11"),
        (10, 20, "references up to octet 1048 of the page, where a ring begins at 1024"),
    ],
)
def test_orders_that_no_server_has_are_refused(left: int, right: int, message: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        parse_page(vchan_page(left, right))
    assert str(raised.value) == message


def test_part_of_a_page_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match=f"4095 octets, must be {PAGE_OCTETS}"):
        parse_page(vchan_page(11, 13)[:-1])


@pytest.mark.parametrize("word", [0, 0x00010004, 0x00020002, 0xFFFFFFFF])
def test_words_that_nobody_knows_change_nothing(word: int) -> None:
    for sound in (CONNECTED, GuestSound(plays=False, records=True)):
        assert sound.after(word) == sound


def test_each_word_changes_what_it_is_about() -> None:
    assert GuestSound(plays=True, records=False) == CONNECTED
    assert CONNECTED.after(ControlWord.SOURCE_START) == GuestSound(plays=True, records=True)
    assert CONNECTED.after(ControlWord.SINK_CORK) == GuestSound(plays=False, records=False)
    both = GuestSound(plays=False, records=True)
    assert both.after(ControlWord.SOURCE_STOP) == GuestSound(plays=False, records=False)
    assert both.after(ControlWord.SINK_UNCORK) == GuestSound(plays=True, records=True)
    assert both.after(ControlWord.SOURCE_START) == both


def test_an_offer_is_there_when_both_its_nodes_are() -> None:
    assert parse_offer("8", "3") == VchanOffer(8, 3)
    assert parse_offer("8", None) is None
    assert parse_offer(None, "3") is None


@pytest.mark.parametrize(("ring_ref", "port"), [("0", "3"), ("8", "0"), ("-1", "3"), ("8", "x")])
def test_offers_that_are_no_numbers_are_refused(ring_ref: str, port: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"ring-ref holds|event-channel holds"):
        parse_offer(ring_ref, port)


def test_nodes_are_below_the_guest_and_name_the_audio_domain() -> None:
    nodes = VchanNodes(guest=7, client=0, port=4713)
    assert nodes.ring_ref == "/local/domain/7/data/vchan/0/4713/ring-ref"
    assert nodes.event_channel == "/local/domain/7/data/vchan/0/4713/event-channel"


def test_sound_is_16_bit_stereo_of_a_cd() -> None:
    sound = VchanSound(8192)
    assert (sound.rate_hz, sound.frame_octets, sound.sample_format.pulse_name) == (
        44100,
        4,
        "s16le",
    )
