"""The core in a process of its own does what it does in this one: the same tests, over calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from agent_dom0.engines import replies
from agent_dom0.engines.zygote import Zygote
from tests.support.core_stream import Setting
from tests.support.engine_apart import SettingApart, running_zygote
from tests.unit.test_core_clock import (
    test_capture_without_audio_is_silence_on_a_clock,
    test_drained_playback_passes_its_end_by_a_period_at_most,
    test_no_period_is_no_position_event,
    test_paused_stream_goes_on_from_the_lap_that_it_was_moved_to,
    test_playback_without_audio_is_discarded_at_the_pace_of_a_real_one,
    test_position_events_come_more_often_than_once_a_period,
    test_stop_moves_the_position_to_the_next_lap_and_tells_it,
)
from tests.unit.test_core_close import (
    test_buffer_is_not_touched_after_close_pcm,
    test_no_event_comes_after_close_pcm_and_ids_run_on,
)
from tests.unit.test_core_gate import test_gate_takes_any_deadline
from tests.unit.test_core_hostile_peers import (
    test_nothing_is_served_after_a_violation,
    test_ring_index_beyond_the_ring_is_noticed,
)
from tests.unit.test_core_requests import (
    test_answer_says_what_python_decided,
    test_answer_to_nothing_is_not_sent,
    test_control_requests_wait_for_python_one_at_a_time_and_in_order,
    test_full_buffer_of_writes_is_answered_before_start,
    test_read_is_answered_without_python,
    test_start_and_stop_of_an_allowed_stream_are_answered_before_python_follows,
    test_start_of_a_stream_that_is_denied_again_waits_for_python,
    test_write_is_answered_without_python,
)

__all__ = [
    "test_answer_says_what_python_decided",
    "test_answer_to_nothing_is_not_sent",
    "test_buffer_is_not_touched_after_close_pcm",
    "test_capture_without_audio_is_silence_on_a_clock",
    "test_control_requests_wait_for_python_one_at_a_time_and_in_order",
    "test_drained_playback_passes_its_end_by_a_period_at_most",
    "test_full_buffer_of_writes_is_answered_before_start",
    "test_gate_takes_any_deadline",
    "test_no_event_comes_after_close_pcm_and_ids_run_on",
    "test_no_period_is_no_position_event",
    "test_nothing_is_served_after_a_violation",
    "test_paused_stream_goes_on_from_the_lap_that_it_was_moved_to",
    "test_playback_without_audio_is_discarded_at_the_pace_of_a_real_one",
    "test_position_events_come_more_often_than_once_a_period",
    "test_read_is_answered_without_python",
    "test_ring_index_beyond_the_ring_is_noticed",
    "test_start_and_stop_of_an_allowed_stream_are_answered_before_python_follows",
    "test_start_of_a_stream_that_is_denied_again_waits_for_python",
    "test_stop_moves_the_position_to_the_next_lap_and_tells_it",
    "test_write_is_answered_without_python",
]


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with running_zygote(tmp_path_factory.mktemp("engines")) as zygote:
        yield zygote


def test_engine_takes_the_budget_of_its_guest(playback: Setting) -> None:
    apart = cast(SettingApart, playback).apart
    apart.call(replies.nothing, "budget", percent=50)


@pytest.fixture
def playback(zygote: Zygote, tmp_path: Path) -> Iterator[Setting]:
    made = SettingApart(playback=True, zygote=zygote, directory=tmp_path)
    yield made
    made.end()


@pytest.fixture
def capture(zygote: Zygote, tmp_path: Path) -> Iterator[Setting]:
    made = SettingApart(playback=False, zygote=zygote, directory=tmp_path)
    yield made
    made.end()
