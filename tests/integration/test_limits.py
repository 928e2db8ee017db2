"""What a rule may say besides a verb: limits that a real guest runs into."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TypeVar

import pulsectl
import pytest

from agent_guest.card import Card
from agent_guest.pcm import BufferSize, Pcm, SampleSpec
from tests.support.agents import ALLOW_PLAYBACK, Dom0, Ended, Guest
from tests.support.asking import goes_live
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually
from xensnd.core import Engine
from xensnd.errors import AccessDenied
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport

SOUND = SampleSpec(SampleFormat.S16_LE, 48000, 2)
SECOND = 48000 * 4
T = TypeVar("T")


@pytest.fixture(autouse=True)
def policy(dom0: Dom0) -> Iterator[None]:
    yield
    (dom0.runtime_directory / "00-grants.yaml").unlink(missing_ok=True)
    dom0.use(ALLOW_PLAYBACK)


def rule(**options: object) -> str:
    """A policy of one rule: `rule(playback="allow", max_volume="50%")`."""
    said = {"guest": "*", **{name.replace("_", "-"): value for name, value in options.items()}}
    return f"version: 1\nrules:\n  - {json.dumps(said)}\n"


def with_card(machine: LocalMachine, name: str, work: Callable[[Card], Awaitable[T]]) -> T:
    async def run() -> T:
        with closing(open_transport(machine.url, name)) as transport, closing(Engine()) as engine:
            async with Card(transport, engine) as card:
                return await work(card)

    return asyncio.run(run())


def open_playback(machine: LocalMachine, name: str, sound: SampleSpec, buffer_octets: int) -> None:
    """AccessDenied: the backend refuses."""

    async def open_and_close(card: Card) -> None:
        pcm: Pcm = card.stream(Direction.PLAYBACK)
        await pcm.open(sound, BufferSize(buffer_octets // 4, buffer_octets // 16))
        await pcm.close()

    with_card(machine, name, open_and_close)


def test_denied_stream_of_a_rule_that_refuses_cannot_be_opened(dom0: Dom0, work: Guest) -> None:
    dom0.use(rule(playback="allow", capture="deny", on_deny="refuse"))
    with work.start("record", "-", "--seconds=1") as recording:
        ended = recording.ended()
        assert ended.status != 0
        assert "policy refuses" in ended.errors
        assert not recording.heard
    decision = dom0.await_event("decision", domid=work.domid)
    assert (decision["XENSND_DIRECTION"], decision["XENSND_DECISION"]) == ("capture", "deny")
    assert not dom0.events("stream_opened", domid=work.domid)


def test_open_stream_falls_silent_when_a_rule_that_refuses_denies_it(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(rule(playback="allow", capture="allow"))
    with (
        pulse.microphone(noise(10)),
        work.start("record", "-", "--seconds=10") as recording,
    ):
        assert recording.listen_until(lambda heard: heard.strip(b"\0")).strip(b"\0")
        dom0.use(rule(playback="allow", capture="deny", on_deny="refuse"))
        recording.listen_until(lambda heard: not heard[-SECOND // 5 :].strip(b"\0"), 5)
        assert not recording.heard[-SECOND // 5 :].strip(b"\0")
        assert recording.is_running


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"formats": ["s24_le"]}, "format s16_le, the rule allows s24_le"),
        ({"rates": [44100]}, "rate 48000 Hz, the rule allows 44100"),
        ({"max_buffer": "16KiB"}, "buffer 96000 octets, the rule allows 16384"),
    ],
)
def test_stream_beyond_its_rule_is_refused_and_audited(
    dom0: Dom0, machine: LocalMachine, work: Guest, limits: dict[str, object], why: str
) -> None:
    dom0.use(rule(playback="allow", capture="deny", **limits))
    with pytest.raises(AccessDenied, match="policy refuses OPEN"):
        open_playback(machine, work.name, SOUND, 96000)
    hit = dom0.await_event("limit_hit", domid=work.domid)
    assert hit["MESSAGE"] == f"work: playback refused: {why}"


def test_guest_that_asks_first_is_told_what_its_rule_allows(dom0: Dom0, work: Guest) -> None:
    dom0.use(rule(playback="allow", capture="deny", max_buffer="48KiB", latency="20ms"))
    assert work.run("play", "-", stdin=noise(0.2)) == Ended(0)
    opened = dom0.await_event("stream_opened", domid=work.domid)
    assert int(opened["MESSAGE"].split("buffer ")[1].split()[0]) <= 48 * 1024


def test_nobody_turns_a_guest_up_beyond_its_rule(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(rule(playback="allow", capture="deny", max_volume="50%"))

    async def turn_up(card: Card) -> None:
        pcm = card.stream(Direction.PLAYBACK)
        await pcm.open(SOUND, BufferSize(24000, 6000))
        with sink_input(pulse, work.name) as now, pulse.mixer() as mixer:
            assert eventually(lambda: abs(now().volume.value_flat - 0.5) < 0.01)
            await pcm.set_volume([0, 0])
            assert max(now().volume.values) < 0.51
            mixer.volume_set_all_chans(now(), 1.2)
            assert eventually(lambda: max(now().volume.values) < 0.51, 2)
            mixer.volume_set_all_chans(now(), 0.2)
            assert abs(now().volume.value_flat - 0.2) < 0.01
            dom0.use(rule(playback="allow", capture="deny", max_volume="10%"))
            assert eventually(lambda: max(now().volume.values) < 0.11, 2)
        await pcm.close()

    with_card(machine, work.name, turn_up)


def test_stream_uses_the_device_of_its_rule_and_nobody_moves_it(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with pulse.sink("other"):
        dom0.use(rule(playback="allow", device="other"))
        with (
            work.start("play", "-", stdin=[noise(5)]),
            sink_input(pulse, work.name) as now,
            pulse.mixer() as mixer,
        ):
            sinks = {sink.name: sink.index for sink in mixer.sink_list()}
            assert now().sink == sinks.pop("other")
            with pytest.raises(pulsectl.PulseOperationFailed):
                mixer.sink_input_move(now().index, next(iter(sinks.values())))
            assert now().sink not in sinks.values()


@pytest.mark.sound
def test_latency_of_the_rule_bounds_what_the_server_has_queued(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    def queued_ms(milliseconds: int) -> float:
        dom0.use(rule(playback="allow", latency=f"{milliseconds}ms"))
        with work.start("play", "-", stdin=[noise(4)]), sink_input(pulse, work.name) as now:
            return float(eventually(lambda: now().buffer_usec)) / 1000

    assert queued_ms(600) > 350
    assert queued_ms(60) < 150


@pytest.mark.sound
def test_grant_that_expires_ends_a_recording(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    dom0.use(rule(playback="allow", capture="deny"))
    with (
        pulse.microphone(noise(20)),
        work.start("record", "-", "--seconds=20") as recording,
    ):
        dom0.await_event("decision", domid=work.domid, decision="deny")
        with dom0.one_more("grant_expired", guest="work"):
            assert dom0.policy("allow-capture", "work", "--for", "3s").returncode == 0
            recording.listen_until(lambda heard: heard.strip(b"\0"), 3)
            assert recording.heard.strip(b"\0")
        expired = dom0.events("grant_expired", guest="work")[-1]
        denied = dom0.await_event("decision", domid=work.domid, decision="deny", count=2)
        took = datetime.fromisoformat(denied["TIME"]) - datetime.fromisoformat(
            expired["XENSND_UNTIL"]
        )
        assert 0 <= took.total_seconds() < 0.5
        recording.listen_until(lambda heard: not heard[-SECOND // 5 :].strip(b"\0"), 5)
        assert not recording.heard[-SECOND // 5 :].strip(b"\0")


def test_grant_for_one_stream_is_used_up_by_it(dom0: Dom0, pulse: PulseServer, work: Guest) -> None:
    dom0.use(rule(playback="allow", capture="deny"))
    with dom0.one_more("grant_made", guest="work"):
        assert dom0.policy("allow-capture", "work", "--once").returncode == 0
    with pulse.microphone(noise(5)):
        with (
            dom0.one_more("grant_expired", guest="work"),
            work.start("record", "-", "--seconds=0.7") as recording,
        ):
            assert recording.ended() == Ended(0)
            assert recording.heard.strip(b"\0")
        expired = dom0.events("grant_expired", guest="work")[-1]
        assert expired["MESSAGE"].endswith("used by one stream")
        with work.start("record", "-", "--seconds=0.3") as recording:
            assert recording.ended() == Ended(0)
            assert recording.heard == bytes(SECOND * 3 // 10)


@pytest.mark.alone
def test_denied_capture_is_silent_within_50_ms_of_the_command(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(rule(playback="allow", capture="deny"))
    took = []
    with (
        pulse.microphone(noise(30)),
        work.start("record", "-", "--seconds=30") as recording,
    ):
        dom0.await_event("decision", domid=work.domid, decision="deny")
        for count in range(1, 6):
            assert dom0.policy("allow-capture", "work").returncode == 0
            dom0.await_event("decision", domid=work.domid, decision="allow", count=count)
            assert goes_live(recording)
            assert dom0.policy("deny-capture", "work").returncode == 0
            returned = datetime.now(UTC)
            denied = dom0.await_event(
                "decision", domid=work.domid, decision="deny", count=count + 1
            )
            took.append((datetime.fromisoformat(denied["TIME"]) - returned).total_seconds())
    print("denied after the command returned, ms:", [round(each * 1000, 1) for each in took])
    assert sorted(took)[len(took) // 2] < 0.05
    assert max(took) < 0.5
