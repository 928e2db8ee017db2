"""The bench's command line, and what is measured for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cases import PARTS, Case, cases
from bench.options import parse
from bench.subjects import Bare


def test_all_parts_and_four_numbers_of_streams_are_the_default() -> None:
    options = parse([])
    assert (options.only, options.streams) == (list(PARTS), [1, 4, 16, 60])


def test_parts_streams_and_checkouts_are_chosen() -> None:
    options = parse(["--only=capture,idle", "--streams=1,16", "--compare=a", "--compare=b"])
    assert options.only == ["capture", "idle"]
    assert options.streams == [1, 16]
    assert options.compare == [Path("a"), Path("b")]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--streams=0", "'0': give numbers from 1 to 200, as in 1,4,16"),
        ("--streams=4,x", "'4,x': give numbers from 1 to 200, as in 1,4,16"),
        ("--only=play", f"'play' is no part; give {','.join(PARTS)}"),
        ("--rounds=0", "'0': give a number from 1 to 2000"),
        ("--seconds=soon", "'soon': give 0.1 to 3600 seconds"),
    ],
)
def test_wrong_options_are_refused_with_what_to_give(
    argument: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([argument])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"{said}\n")


def test_the_path_is_measured_with_one_stream_only() -> None:
    found = [(case.part.name, case.streams) for case in cases(["heard", "path"], [1, 4])]
    assert found == [("heard", 1), ("heard", 4), ("path", 1)]


def test_idle_cpu_is_not_divided_by_streams() -> None:
    (idle,) = cases(["idle"], [16])
    (heard,) = cases(["heard"], [16])
    assert (idle.sharing, heard.sharing) == (1, 16)


def test_latency_is_known_where_no_full_buffer_is_part_of_it() -> None:
    assert [part.name for part in PARTS.values() if part.is_timed] == ["heard", "capture", "path"]


def test_clients_are_fed_where_guests_write_at_their_own_time() -> None:
    fed = Bare("fed", "relay")
    assert [part for part in PARTS if fed.does(Case(PARTS[part], 1))] == ["heard"]
    assert not fed.does(Case(PARTS["heard"], 61))


def test_clients_tell_when_a_period_is_over_where_guests_have_written_ahead() -> None:
    paced = Bare("paced", "pace")
    assert [part for part in PARTS if paced.does(Case(PARTS[part], 1))] == ["playback", "listened"]
