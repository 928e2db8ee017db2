"""Streams of the core for unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.core_stream import Setting, setting


@pytest.fixture
def playback() -> Iterator[Setting]:
    with setting(playback=True) as made:
        yield made


@pytest.fixture
def capture() -> Iterator[Setting]:
    with setting(playback=False) as made:
        yield made
