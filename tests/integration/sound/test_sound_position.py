"""What a guest is told of its position, against the time that has passed."""

from __future__ import annotations

from tests.support.raw_frontend import RawStream
from tests.support.told_positions import assert_none_is_early

# The server has all of the buffer at once, and keeps the stream for a while before it begins.
OPTIONS = ("--latency=500",)


def test_no_position_is_told_before_its_time(stream: RawStream) -> None:
    assert_none_is_early(stream, open_before_seconds=0.3)
