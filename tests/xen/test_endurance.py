"""Frames that are their own numbers, for long: none is lost, repeated or out of order, and none is
too many, so that the guest's position never drifts from what is heard.

`XENSND_ENDURANCE=600` makes it the ten minutes, and the agent's deaths twenty (`make endurance`);
`XENSND_DEATHS` is another number of deaths.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.heard import RATE_HZ, Gap
from tests.xen.dom0 import ALLOW_PLAYBACK, PATIENT, Agent, Pulse
from tests.xen.guest import load_driver
from tests.xen.images import SINK
from tests.xen.lab import XenGuest
from tests.xen.remote import Machine, Process

SECONDS = int(os.environ.get("XENSND_ENDURANCE", "20"))
DEATHS = int(os.environ.get("XENSND_DEATHS", "20" if SECONDS >= 600 else "2"))
DEATH_SECONDS = 4  # from one to the next: until the next agent stands by, emulated
# What a sound's beginning and its end take; more would be a drift.
BEGIN_SECONDS = 0.5
HERE = {"PYTHONPATH": "/opt/xensnd"}
COUNTED = ("python3", "-m", "tests.xen.counted")
OTHER_SINK = "other"
EACH_ITS_SINK = f"""\
version: 1
rules:
  - {{guest: stock, playback: allow, device: {SINK}}}
  - {{guest: bare, playback: allow, device: {OTHER_SINK}}}
"""
# Less than the guest's shortest buffer, of which it must be less than half.
SHORT_MSEC = 90

pytestmark = [pytest.mark.quiet, pytest.mark.timeout(max(600, 2 * SECONDS))]


@contextmanager
def judging(dom0: Machine, pulse: Pulse, sink: str, seconds: int) -> Iterator[Process]:
    """What the sink plays is judged in dom0, where it is; here it would be too much."""
    ears = f"parec --server={pulse.address} --raw --device={sink}.monitor --fix-format --fix-rate"
    command = f"{ears} --fix-channels --latency-msec=200 | {' '.join(COUNTED)} judge {seconds}"
    with dom0.start("sh", "-c", command, env=HERE) as judge:
        assert b"ready" in judge.listen_until(lambda said: b"ready" in said), judge.errors
        yield judge


def judged(judge: Process) -> list[Any]:
    """The first frame's number, breaks, "end" if that was heard."""
    said = judge.listen_until(lambda said: b'"end"' in said, 10)
    return [json.loads(line) for line in said.splitlines()[1:]]


def start_stock(guest: XenGuest, seconds: int, period: int, buffer: int) -> Process:
    return guest.start(*COUNTED, "play", *map(str, (seconds, period, buffer)), env=HERE)


def start_ours(guest: XenGuest, seconds: int) -> Process:
    command = f"{' '.join(COUNTED)} write {seconds} | xensnd-guest play -"
    return guest.start("sh", "-c", command, env=HERE)


def test_frames_of_both_frontends_are_all_heard_one_after_another(
    dom0: Machine, pulse: Pulse, new_guest: Callable[..., XenGuest]
) -> None:
    with (
        pulse.sink(OTHER_SINK),
        Agent(dom0, pulse, PATIENT, policy=EACH_ITS_SINK, directory="/run/endurance"),
    ):
        stock, bare = new_guest("stock"), new_guest("bare")
        load_driver(stock)
        with (
            judging(dom0, pulse, SINK, SECONDS) as judge,
            judging(dom0, pulse, OTHER_SINK, SECONDS) as other_judge,
            start_ours(bare, SECONDS) as ours,
            start_stock(stock, SECONDS, 12000, 48000) as playing,
        ):
            ended = playing.ended(SECONDS + 60)
            assert (ended.status, ended.errors) == (0, "")
            given_up, took_seconds = json.loads(ended.output)
            print(f"{SECONDS} s of sound took {took_seconds:.3f} s")
            assert given_up == 0
            assert abs(took_seconds - SECONDS) <= BEGIN_SECONDS
            assert judged(judge) == [1, "end"]
            ended = ours.ended(60)
            assert (ended.status, ended.errors) == (0, "")
            assert judged(other_judge) == [1, "end"]


@pytest.mark.parametrize("buffer_msec", [200, 1000])
def test_agents_deaths_bring_nothing_out_of_order(
    dom0: Machine, pulse: Pulse, new_guest: Callable[..., XenGuest], buffer_msec: int
) -> None:
    seconds = DEATH_SECONDS * DEATHS + 4
    buffer = buffer_msec * RATE_HZ // 1000
    latency = f"--latency={SHORT_MSEC}"
    with Agent(dom0, pulse, latency, policy=ALLOW_PLAYBACK, directory="/run/endurance") as agent:
        guest = new_guest("mortal")
        load_driver(guest)
        with (
            judging(dom0, pulse, SINK, seconds) as judge,
            start_stock(guest, seconds, buffer // 4, buffer) as playing,
        ):
            agent.await_event("stream_started", guest="mortal")
            for _ in range(DEATHS):
                time.sleep(1)
                # Not until the stream is taken over: with the shorter buffer ALSA may give up.
                with agent.one_more("agent_started"):
                    dom0.do("kill", "-KILL", agent.worker)
            ended = playing.ended(seconds + 60)
            first, *breaks = judged(judge)
    assert ended.status == 0, ended.errors
    given_up, _ = json.loads(ended.output)
    outages = [Gap(*each) for each in breaks if each != "end"]
    print(f"{buffer_msec} ms of buffer, {DEATHS} deaths; ALSA gave up {given_up} times:", *outages)
    assert first == 1
    # What may have been queued when it died is played again.
    assert all(each.missing >= -buffer for each in outages)
    lost = [each.missing for each in outages if each.missing > 0]
    # When ALSA gives up, it drops what is in the buffer.
    assert len(lost) <= given_up
    assert all(each <= 2 * buffer for each in lost)
    assert breaks[-1] == "end" or given_up
