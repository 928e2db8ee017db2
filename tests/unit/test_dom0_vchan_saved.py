"""What the next agent finds of a guest's vchans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent_dom0.vchan.saved_link import SavedLink
from policy.model import Direction
from xensnd.control.answers import Answer
from xensnd.vchan.control import GuestSound
from xensnd.vchan.nodes import VchanOffer

OFFERS = {4713: VchanOffer(8, 3), 4714: VchanOffer(0xFFFFFFFF, 4)}


@contextmanager
def saved(directory: Path, owner: str = "uuid", name: str = "work") -> Iterator[SavedLink]:
    with closing(SavedLink(directory / "vchans" / "7", owner, lambda: name)) as link:
        yield link


def test_offers_and_what_the_guest_does_are_there_for_the_next_agent(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        link.save(OFFERS)
        link.sound = GuestSound(plays=False, records=True)
        link.save_answer(Direction.CAPTURE, Answer.ONCE)
    with saved(tmp_path) as link:
        assert link.load() == OFFERS
        assert link.sound == GuestSound(plays=False, records=True)
        assert link.answer(Direction.CAPTURE) is Answer.ONCE
        assert link.answer(Direction.PLAYBACK) is None


def test_nothing_is_found_that_was_not_saved_or_was_cleared(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        assert link.load() is None
        link.save(OFFERS)
        link.clear()
        assert link.load() is None


def test_vchans_of_another_guest_of_the_same_number_are_not_found(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        link.save(OFFERS)
    with saved(tmp_path, owner="another") as link:
        assert link.load() is None


def test_answer_about_another_name_does_not_count(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        link.save_answer(Direction.CAPTURE, Answer.ALWAYS)
    with saved(tmp_path, name="untrusted") as link:
        assert link.answer(Direction.CAPTURE) is None


def test_new_connection_forgets_the_answers_of_the_last_one(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        link.save(OFFERS)
        link.save_answer(Direction.CAPTURE, Answer.ONCE)
        link.save(OFFERS)
        assert link.answer(Direction.CAPTURE) is None


def test_file_with_a_wrong_check_sum_is_nothing(tmp_path: Path) -> None:
    with saved(tmp_path) as link:
        link.save(OFFERS)
    file = tmp_path / "vchans" / "7"
    octets = bytearray(file.read_bytes())
    octets[50] ^= 1
    file.write_bytes(octets)
    with saved(tmp_path) as link:
        assert link.load() is None
