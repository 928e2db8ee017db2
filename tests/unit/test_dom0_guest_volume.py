"""What a person has set for a guest, kept for the next agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_dom0.audio.guest_volume import GuestVolume, VolumeFile, unset_volumes
from xensnd.sndif.store_fields import Direction

SET = {Direction.PLAYBACK: GuestVolume(60, False), Direction.CAPTURE: GuestVolume(None, True)}


def test_what_was_set_is_there_for_the_next_agent_until_it_is_removed(tmp_path: Path) -> None:
    record = VolumeFile(tmp_path / "volumes" / "7", "uuid")
    assert record.load() == unset_volumes()
    record.save(SET)
    assert VolumeFile(tmp_path / "volumes" / "7", "uuid").load() == SET
    record.remove()
    assert record.load() == unset_volumes()


def test_another_guest_of_the_same_number_has_its_own(tmp_path: Path) -> None:
    VolumeFile(tmp_path / "7", "uuid").save(SET)
    assert VolumeFile(tmp_path / "7", "another").load() == unset_volumes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"owner": "uuid"}',
        '{"owner": "uuid", "playback": [60, 0], "capture": [null, true]}',
        '{"owner": "uuid", "playback": [101, false], "capture": [null, true]}',
        '{"owner": "uuid", "playback": [true, false], "capture": [null, true]}',
        '{"owner": "uuid", "playback": [60], "capture": [null, true]}',
        '{"owner": "uuid", "playback": 60, "capture": [null, true]}',
    ],
)
def test_what_is_no_good_is_as_if_nothing_was_set(tmp_path: Path, text: str) -> None:
    (tmp_path / "7").write_text(text)
    assert VolumeFile(tmp_path / "7", "uuid").load() == unset_volumes()


def test_disk_that_cannot_be_written_is_told_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "volumes").write_text("in the way")
    VolumeFile(tmp_path / "volumes" / "7", "uuid").save(SET)
    assert "a new agent will not know the volume" in caplog.text
