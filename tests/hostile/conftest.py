"""How long the suite takes: `--seconds`, for all acts together. Without it, as long as each act
needs to show what it is there for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.hostile.acts import ALL_ACTS
from tests.support.servers import agent_options, dom0, machine, new_guest, pulse, pulse_runs

__all__ = ["agent_options", "dom0", "machine", "new_guest", "pulse", "pulse_runs"]

HERE = Path(__file__).parent
CASE_SECONDS = 90.0
ACT_SECONDS_MAX = 8.0  # then comes the next one, and this one again in the next round


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=0.0, help="for all acts together")
    parser.addoption("--isolation", default="all", help="the agent's, for test_acts.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "act_seconds" not in metafunc.fixturenames:
        return
    an_act = metafunc.config.getoption("--seconds") / len(ALL_ACTS)
    rounds = max(1, math.ceil(an_act / ACT_SECONDS_MAX))
    metafunc.parametrize("act_seconds", [an_act / rounds] * rounds, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sound in real time, on a machine that others share: a case that fails is run once more, and
    both are reported."""
    patience = CASE_SECONDS + 2 * config.getoption("--seconds")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(patience))
            if item.get_closest_marker("alone"):
                item.add_marker(pytest.mark.flaky(reruns=1))
