"""Lost frames and latency, from the numbers that were heard."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from struct import pack

import pytest

from bench.measure import (
    NUMBERS,
    Chunk,
    Ear,
    Heard,
    Write,
    late,
    lateness,
    percentile,
    read_chunks,
    read_writes,
)

MS = 1_000_000


def frames(left: Iterable[int], right: int = 0) -> bytes:
    return array("H", [sample for number in left for sample in (number, right)]).tobytes()


def hear(*pieces: Iterable[int]) -> list[Heard]:
    ear = Ear()
    return [ear.hear(Chunk(0, frames(piece))) for piece in pieces]


def lost(*pieces: Iterable[int]) -> int:
    return sum(heard.lost_frames for heard in hear(*pieces))


def repeated(*pieces: Iterable[int]) -> int:
    return sum(heard.repeated_frames for heard in hear(*pieces))


def test_numbers_in_order_lose_nothing() -> None:
    assert lost(range(7, 100), range(100, 200)) == 0


def test_silence_before_the_first_frame_is_not_lost() -> None:
    assert lost([0] * 50, [0, 0, 1, 2, 3]) == 0


def test_inserted_zeros_are_lost_frames() -> None:
    assert lost(range(1, 100), [0] * 30, [0, 0, *range(100, 150)]) == 32


def test_zeros_inside_one_chunk_are_lost_frames() -> None:
    assert lost([1, 2, 3, 0, 0, 4, 5]) == 2


def test_zeros_at_the_end_are_lost_frames() -> None:
    assert lost([1, 2, 3], [0] * 10) == 10


def test_numbers_left_out_are_lost_frames() -> None:
    assert lost(range(1, 100), range(150, 200)) == 50


def test_zeros_in_the_place_of_frames_are_counted_once() -> None:
    assert lost(range(1, 100), [0] * 50, range(150, 200)) == 50


def test_a_gap_counts_as_many_frames_as_are_left_out_if_there_are_fewer_zeros() -> None:
    assert lost(range(1, 100), [0] * 20, range(150, 200)) == 50


def test_zeros_of_one_gap_are_not_taken_for_frames_of_the_next() -> None:
    assert lost(range(1, 100), [0] * 50, range(150, 200), range(220, 230)) == 50 + 20


def test_repeated_frames_are_not_lost() -> None:
    pieces = (range(1, 100), range(90, 200))
    assert (lost(*pieces), repeated(*pieces)) == (0, 10)


def test_numbers_begin_again_after_the_last_one() -> None:
    pieces = (range(NUMBERS - 5, NUMBERS + 1), range(1, 50), range(50, 60))
    assert (lost(*pieces), repeated(*pieces)) == (0, 0)


def test_frames_are_counted_over_the_last_number_too() -> None:
    assert lost(range(NUMBERS - 5, NUMBERS - 1), range(3, 50)) == 4


def test_what_others_play_on_the_right_is_not_heard() -> None:
    assert Ear().hear(Chunk(0, frames(range(1, 9), right=77))) == Heard(0, 8, 0, 0)


def test_latency_is_from_the_write_of_the_last_frame_heard() -> None:
    writes = [Write(0, 100), Write(10 * MS, 200), Write(20 * MS, 300)]
    # The 150th frame was written at 10 ms, and the 300th at 20 ms.
    hearing = iter([Heard(25 * MS, 150, 0, 0), Heard(36 * MS, 300, 0, 0)])
    found = late(writes, hearing, 0)
    assert (found.median_ms, found.p99_ms) == (16.0, 16.0)
    assert late(writes, iter([Heard(25 * MS, 150, 0, 0)]), 0).median_ms == 15.0


@pytest.mark.parametrize(("number", "late_ms"), [(200, 20.0), (201, 10.0)])
def test_the_first_frame_of_a_write_is_not_of_the_write_before(number: int, late_ms: float) -> None:
    writes = [Write(0, 100), Write(10 * MS, 200), Write(20 * MS, 300)]
    assert late(writes, iter([Heard(30 * MS, number, 0, 0)]), 0).median_ms == late_ms


def test_a_number_means_the_latest_frame_that_was_written_with_it() -> None:
    writes = [Write(0, NUMBERS), Write(50 * MS, NUMBERS + 480), Write(90 * MS, NUMBERS + 960)]
    assert late(writes, iter([Heard(60 * MS, 480, 0, 0)]), 0).median_ms == 10.0


def test_only_what_is_heard_in_the_time_counts() -> None:
    writes = [Write(0, 1000)]
    hearing = [Heard(time * MS, 100, lost, 0) for time, lost in ((1, 7), (5, 3), (9, 8))]
    found = late(writes, iter(hearing), 2 * MS, 8 * MS)
    assert (found.median_ms, found.lost_frames) == (5.0, 3)


def test_latency_is_no_number_if_nothing_is_heard() -> None:
    found = late([Write(0, 1000)], iter([Heard(5 * MS, 0, 4, 0)]), 0)
    assert math.isnan(found.median_ms)
    assert found.lost_frames == 4


def test_logs_are_read_up_to_their_last_whole_record(tmp_path: Path) -> None:
    (tmp_path / "written").write_bytes(pack("<qqq", 3, 480, 4))
    heard = frames(range(1, 5))
    whole = pack("<qq", 7, len(heard)) + heard
    (tmp_path / "heard").write_bytes(whole + whole[:-1])
    assert read_writes(tmp_path / "written") == [Write(3, 480)]
    assert list(read_chunks(tmp_path / "heard")) == [Chunk(7, heard)]


def test_lateness_of_the_logs_of_two_processes(tmp_path: Path) -> None:
    (tmp_path / "written").write_bytes(pack("<qqqq", 0, 480, 10 * MS, 960))
    chunks = [(12, range(1, 401)), (20, [0] * 5), (24, range(401, 601))]
    (tmp_path / "heard").write_bytes(
        b"".join(pack("<qq", time * MS, 4 * len(left)) + frames(left) for time, left in chunks)
    )
    found = lateness(tmp_path / "written", tmp_path / "heard", 0)
    assert (found.median_ms, found.lost_frames) == (14.0, 5)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 3), (99, 5)])
def test_percentiles_are_values_that_were_found(percent: int, value: int) -> None:
    assert percentile([5, 1, 3, 2, 4], percent) == value
