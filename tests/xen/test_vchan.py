"""A Qubes guest's own sound over vchan: its end is Xen's libxenvchan, with the habits of Qubes'
modules for PulseAudio and PipeWire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent_dom0.supervisor.supervise import RENEW
from tests.support.heard import FRAME_OCTETS, Gap, gaps, seconds_heard, stretches, without_silence
from tests.support.pulse_server import difference, left_of, noise, on_left, on_right, right_of
from tests.support.vchan_server import RIGHT_PROD
from tests.xen.dom0 import (
    ALLOW_BOTH,
    ALLOW_PLAYBACK,
    MICROPHONE,
    PATIENT,
    QUEUED_MSEC,
    Agent,
    Pulse,
)
from tests.xen.interruptions import pause, save_and_go_on, save_and_restore
from tests.xen.lab import Lab, XenGuest, wait_until
from tests.xen.peer import Peer
from tests.xen.qubes_sound import (
    HABITS,
    PIPEWIRE,
    PULSEAUDIO,
    SECOND_OCTETS,
    QubesSound,
    build_program,
    install_program,
)
from tests.xen.remote import Machine, Process
from tests.xen.traces import gives_all_back, held

pytestmark = pytest.mark.usefixtures("deaths_are_forgotten")

RATE_HZ = 44100
HEARD_SECONDS = 30
POLICY = ALLOW_BOTH
OPTIONS = ("--vchan",)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def guest(lab: Lab, agent: Agent, program: Path) -> Iterator[XenGuest]:  # noqa: ARG001
    with lab.guest("work") as guest:
        install_program(guest, program)
        yield guest


@pytest.fixture(scope="module")
def other(lab: Lab, agent: Agent, program: Path) -> Iterator[XenGuest]:  # noqa: ARG001
    with lab.guest("personal") as guest:
        install_program(guest, program)
        yield guest


@contextmanager
def sound_of(guest: XenGuest, habits: str) -> Iterator[QubesSound]:
    with QubesSound(guest, habits) as sound:
        sound.await_connected()
        yield sound


def latest(heard: bytes) -> bytes:
    """What was heard in the last two seconds, in whole frames."""
    return heard[max(0, len(heard) - 2 * SECOND_OCTETS) // 4 * 4 :]


def both_sound(heard: bytes) -> bool:
    """Whether there is half a second of sound on each side."""
    sides = (left_of(heard), right_of(heard))
    return all(len(without_silence(side)) > SECOND_OCTETS // 4 for side in sides)


def gaps_of_recording(recorded: bytes, spoken: bytes) -> list[Gap]:
    """What was recorded is in its order, nothing of it twice, for two seconds at least."""
    frames = sum(each.end - each.start for each in stretches(recorded, spoken))
    assert frames >= 2 * RATE_HZ
    found = gaps(recorded, spoken)
    assert all(each.missing >= 0 for each in found)
    return found


def assert_all_is_recorded_but_what_is_counted(
    agent: Agent, sound: QubesSound, spoken: bytes
) -> None:
    """Of a new recording: what the guest loses, because it reads too late, the agent counts."""
    kind = "stream_closed"
    with agent.one_more(kind, guest="work", direction="capture"):
        sound.do("stop")
    before = len(sound.recorded)
    sound.do("start")
    sound.await_recorded(3 * SECOND_OCTETS)
    with agent.one_more(kind, guest="work", direction="capture"):
        sound.do("stop")
    late = int(agent.events(kind, guest="work", direction="capture")[-1]["XENSND_LATE_OCTETS"])
    found = gaps_of_recording(sound.recorded[before:].strip(b"\0"), spoken)
    print(f"counted as late: {late} octets")
    assert sum(each.missing for each in found) * FRAME_OCTETS <= late


def heard_to_the_end_of(played: bytes, ears: Process) -> bytes:
    """All that was heard, without the pauses that emulation makes."""
    heard = ears.listen_until(lambda heard: played[-64:] in without_silence(heard), HEARD_SECONDS)
    return without_silence(heard)


def assert_whole(heard: bytes, played: bytes) -> list[Gap]:
    """One channel of it: from its first sample to its last, in order, each at least once. What was
    queued at the audio server when something died may be heard again."""
    parts = stretches(heard, played, 2)
    assert (parts[0].start, parts[-1].end) == (0, len(played) // 2), parts
    found = gaps(heard, played, 2)
    assert all(-QUEUED_MSEC * RATE_HZ // 1000 <= each.missing <= 0 for each in found)
    return found


@pytest.mark.parametrize("habits", HABITS)
def test_guest_plays_and_records_once_it_may_and_its_sound_server_may_start_anew(
    pulse: Pulse, agent: Agent, guest: XenGuest, habits: str
) -> None:
    played, spoken = noise(2, seed=1, rate_hz=RATE_HZ), noise(40, seed=2, rate_hz=RATE_HZ)
    agent.use(ALLOW_PLAYBACK)
    with (
        sound_of(guest, habits) as sound,
        pulse.microphone(spoken, rate_hz=RATE_HZ),
        pulse.hearing_at(RATE_HZ, MICROPHONE) as ears,
    ):
        with agent.one_more("decision", direction="capture", decision="deny"):
            sound.do("start")
        began = time.monotonic()
        denied = sound.await_recorded(SECOND_OCTETS)
        assert 0.5 < time.monotonic() - began < 3
        assert not denied.strip(b"\0")

        agent.use(POLICY)
        assert sound.await_recorded(SECOND_OCTETS).strip(b"\0")
        assert_all_is_recorded_but_what_is_counted(agent, sound, spoken)

        sound.play(played)
        assert ears.hears(played, 20), difference(played, ears.heard)

        sound.do("restart")
        sound.await_connected(2)
        sound.play(spoken[: SECOND_OCTETS // 2])
        assert ears.hears(spoken[: SECOND_OCTETS // 2]), difference(spoken, ears.heard)


def kill(dom0: Machine, process: str) -> float:
    """Kill it, and return when, in seconds of dom0's clock."""
    return float(dom0.do("sh", "-c", 'date +%s.%N; kill -KILL "$1"', "-", process))


def seconds_of(event: Any) -> float:
    return datetime.fromisoformat(event["TIME"]).timestamp()


def test_killed_agent_loses_no_frame_that_guests_play_and_tells_its_gaps(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest, other: XenGuest
) -> None:
    one, two = (noise(8, frame_octets=2, seed=seed, rate_hz=RATE_HZ) for seed in (3, 4))
    spoken = noise(60, seed=5, rate_hz=RATE_HZ)
    with (
        sound_of(guest, PULSEAUDIO) as sound,
        sound_of(other, PIPEWIRE) as other_sound,
        pulse.microphone(spoken, rate_hz=RATE_HZ),
        pulse.hearing_at(RATE_HZ, MICROPHONE) as ears,
    ):
        both = (sound, other_sound)
        for each, frames in zip(both, (on_left(one), on_right(two)), strict=True):
            each.load(frames)
            each.do("start")
        for each in both:
            each.play_loaded()
        ears.listen_until(
            lambda heard: (
                min(map(len, map(without_silence, (left_of(heard), right_of(heard)))))
                > SECOND_OCTETS // 2
            )
        )
        inputs = pulse.pactl("list", "sink-inputs")
        assert all(f'application.name = "{name}"' in inputs for name in ("work", "personal"))
        with ExitStack() as taken_over:
            for name in ("work", "personal"):
                for direction in ("playback", "capture"):
                    taken_over.enter_context(
                        agent.one_more("stream_taken_over", guest=name, direction=direction)
                    )
            # Late, on an emulated processor: the agent learns first what it records.
            for name in ("work", "personal"):
                taken_over.enter_context(agent.one_more("source_admitted", guest=name, seconds=60))
            died = kill(dom0, agent.worker)
        for name in ("work", "personal"):
            for kind in ("stream_taken_over", "source_admitted"):
                event = agent.events(kind, guest=name, direction="capture")[-1]
                print(f"{name}: {kind} {seconds_of(event) - died:.2f} s after the death")
        for each in both:
            each.await_recorded(SECOND_OCTETS)
        wait_until(
            lambda: one[-64:] in left_of(ears.heard) and two[-64:] in right_of(ears.heard),
            HEARD_SECONDS,
            lambda: "the guests are not heard to their ends",
            every=0.5,
        )
        heard = ears.heard
        for each in both:
            each.do("stop")
            assert gaps_of_recording(each.recorded.strip(b"\0"), spoken)
            assert each.times("closed 4713") == each.times("closed 4714") == 0
    assert len(assert_whole(left_of(heard), one)) >= 1
    assert len(assert_whole(right_of(heard), two)) >= 1


def test_guest_plays_on_where_it_was_interrupted_and_after_the_agent_was_renewed(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    played, later = noise(5, seed=7, rate_hz=RATE_HZ), noise(0.5, seed=8, rate_hz=RATE_HZ)
    with sound_of(guest, PULSEAUDIO) as sound, pulse.hearing_at(RATE_HZ) as ears:
        sound.play(played)
        for seconds, interrupt in ((1, pause), (2.5, save_and_go_on)):
            ears.listen_until(seconds_heard(seconds, RATE_HZ))
            interrupt(dom0, guest)
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 20)
        assert sound.times("closed 4713") == 0
        assert without_silence(heard) == played
        assert len(gaps(heard, played)) >= 2

        with agent.one_more("agent_started"):
            dom0.do("kill", f"-{RENEW.name}", agent.supervisor)
        sound.play(later)
        assert ears.hears(later), difference(later, ears.heard)


# What goes away while it sounds


def mapped(agent: Agent) -> int:
    """How many mappings of guests' pages the agent has."""
    return int(held(agent)["grant mappings"])


def await_mapped(agent: Agent, count: int) -> None:
    wait_until(lambda: mapped(agent) == count, 10, lambda: f"{mapped(agent)}, not {count}")


def test_guest_that_is_destroyed_while_it_sounds_leaves_nothing_mapped_and_its_neighbour_plays_on(
    pulse: Pulse,
    agent: Agent,
    guest: XenGuest,
    new_guest: Callable[..., XenGuest],
    program: Path,
) -> None:
    one, two = (noise(12, frame_octets=2, seed=seed, rate_hz=RATE_HZ) for seed in (11, 12))
    leaving = new_guest("leaving")
    install_program(leaving, program)
    with (
        sound_of(guest, PULSEAUDIO) as sound,
        pulse.microphone(noise(40, seed=13, rate_hz=RATE_HZ), rate_hz=RATE_HZ),
        pulse.hearing_at(RATE_HZ, MICROPHONE) as ears,
    ):
        sound.load(on_left(one))
        alone = mapped(agent)
        leaving_sound = QubesSound(leaving, PIPEWIRE)
        leaving_sound.__enter__()  # its domain ends before it does
        leaving_sound.await_connected()
        leaving_sound.load(on_right(two))
        leaving_sound.do("start")
        sound.play_loaded()
        leaving_sound.play_loaded()
        ears.listen_until(both_sound)
        assert leaving_sound.await_recorded(SECOND_OCTETS).strip(b"\0")
        with agent.one_more("device_disconnected", guest="leaving"):
            leaving.destroy()
        await_mapped(agent, alone)
        ears.listen_until(lambda heard: one[-64:] in left_of(heard[-SECOND_OCTETS:]), HEARD_SECONDS)
        assert sound.times("closed 4713") == 0
        assert_whole(left_of(ears.heard), one)


@contextmanager
def registered(audio: XenGuest, guest: XenGuest) -> Iterator[None]:
    """With the agent of the audio domain, as qvm-start-daemon does it there."""
    command = ["python3", "-m", "agent_session.pacat", f"--pidfile=/run/pacat.{guest.domid}"]
    command += ["-l", str(guest.domid), guest.name]
    with audio.start(*command, env={"PYTHONPATH": "/opt/xensnd"}) as pacat:
        try:
            yield
        finally:
            print(f"xensnd-pacat said: {pacat.errors!r}")


def test_guest_that_moves_to_an_audio_domain_while_it_plays_is_heard_there_and_back_again(
    pulse: Pulse, agent: Agent, guest: XenGuest, new_guest: Callable[..., XenGuest]
) -> None:
    here = noise(20, seed=14, rate_hz=RATE_HZ)
    there, back = (noise(2, seed=seed, rate_hz=RATE_HZ) for seed in (15, 16))
    audio = new_guest("audio")
    others = mapped(agent)
    with (
        Pulse(audio) as audio_pulse,
        Agent(audio, audio_pulse, PATIENT, "--vchan=registered", policy=POLICY) as audio_agent,
        gives_all_back(audio_agent),
        registered(audio, guest),
        sound_of(guest, PIPEWIRE) as sound,
    ):
        with pulse.hearing_at(RATE_HZ) as ears:
            sound.play(here)
            ears.listen_until(seconds_heard(1, RATE_HZ))
            with agent.one_more("device_disconnected", guest="work"):
                sound.do(f"move {audio.domid}")
            await_mapped(agent, others)
            assert without_silence(ears.heard) in here
        audio_agent.await_event("device_connected", guest="work")
        with audio_pulse.hearing_at(RATE_HZ) as ears:
            ears.listen_until(without_silence)
            sound.play(there)
            before, _, after = heard_to_the_end_of(there, ears).partition(there)
            assert (before in here, after) == (True, b"")
            with audio_agent.one_more("device_disconnected", guest="work"):
                sound.do("move 0")
        await_mapped(audio_agent, 0)
        sound.await_connected(3)
        with pulse.hearing_at(RATE_HZ) as ears:
            sound.play(back)
            assert heard_to_the_end_of(back, ears) == back


@contextmanager
def removed(dom0: Machine, guest: XenGuest, port: int) -> Iterator[None]:
    """The nodes of this port, which are there again after that."""
    directory = f"/local/domain/{guest.domid}/data/vchan/0/{port}"
    paths = [f"{directory}/{name}" for name in ("ring-ref", "event-channel")]
    values = [dom0.do("xenstore-read", path).strip() for path in paths]
    dom0.do("xenstore-rm", directory)
    yield
    for path, value in zip(paths, values, strict=True):
        dom0.do("xenstore-write", path, value)
        dom0.do("xenstore-chmod", path, f"n{guest.domid}", "r0")


def test_nodes_that_are_removed_and_put_back_are_an_offer_and_the_neighbour_plays_on(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest, other: XenGuest
) -> None:
    one, two = (
        noise(seconds, frame_octets=2, seed=seed, rate_hz=RATE_HZ)
        for seconds, seed in ((2, 17), (12, 18))
    )
    with (
        sound_of(guest, PULSEAUDIO) as sound,
        sound_of(other, PULSEAUDIO) as neighbour,
        pulse.hearing_at(RATE_HZ) as ears,
    ):
        sound.load(on_left(one))
        neighbour.load(on_right(two))
        agent.stop()
        for each in (sound, neighbour):
            each.await_said("offered", 2)
        with removed(dom0, guest, 4714):
            agent.start()
            neighbour.await_connected(2)
            neighbour.play_loaded()
            ears.listen_until(without_silence)
            assert sound.times("connected 4713") == 1
        sound.await_connected(2)
        sound.play_loaded()
        ears.listen_until(
            lambda heard: one[-64:] in left_of(heard) and two[-64:] in right_of(heard),
            HEARD_SECONDS,
        )
        assert neighbour.times("closed 4713") == 1
    assert_whole(left_of(ears.heard), one)
    assert_whole(right_of(ears.heard), two)


# Against the rules

BEYOND_THE_RING = ("set_index", 4713, RIGHT_PROD, 1 << 30)


def told_of(agent: Agent, evil: Peer, *acts: tuple[Any, ...]) -> set[str]:
    """What the trail says of an offer that was prepared so. The next offer is taken. An offer may
    be read once more when its pages are no longer shared, and be told of for that, too."""
    count = len(agent.events("protocol_violation", guest="personal"))
    evil.do("prepare")
    for act in acts:
        evil.do(*act)
    agent.await_event("protocol_violation", guest="personal", count=count + 1)
    evil.do("prepare")
    evil.do("offer")
    assert evil.do("has_client")
    events = agent.events("protocol_violation", guest="personal")[count:]
    return {str(event["MESSAGE"]) for event in events}


def test_guest_whose_vchans_break_the_rules_is_told_of_and_its_neighbour_plays_on(
    pulse: Pulse, agent: Agent, guest: XenGuest, other: XenGuest
) -> None:
    worker, dom = agent.worker, f"dom{other.domid}"
    played = noise(25, seed=9, rate_hz=RATE_HZ)
    no_grant = f"{dom} does not grant"
    against_the_rules: dict[str, Sequence[tuple[Any, ...]]] = {
        "vchan 4713: right ring of order 9, allowed 10 to 20": [
            ("state_orders", 4713, 11, 9),
            ("offer",),
        ],
        "vchan 4714: left ring of order 65535, allowed 10 to 20": [
            ("state_orders", 4714, 65535, 11),
            ("offer",),
        ],
        "vchan 4713: both rings of order 11 in the page, allowed are 10 and 11": [
            ("state_orders", 4713, 11, 11),
            ("offer",),
        ],
        f"{no_grant} all of 2 pages from 4711 on to dom0 (Invalid argument)": [
            ("state_pages", 4713, 4711, 4712),
            ("offer",),
        ],
        f"vchan 4713: {no_grant} page 4711 to dom0 (Invalid argument)": [
            ("offer", {"ring-ref": "4711"})
        ],
        f"{dom} offers no event channel 4000 to dom0 (Invalid argument)": [
            ("offer", {"event-channel": "4000"})
        ],
        "ring-ref holds '../../0', allowed 1 to 4294967295": [("offer", {"ring-ref": "../../0"})],
        "4713: a ring's index is out of range": [("offer",), ("has_client",), BEYOND_THE_RING],
    }
    with (
        Peer(other, "tests.xen.evil_vchan") as evil,
        sound_of(guest, PULSEAUDIO) as sound,
        pulse.hearing_at(RATE_HZ) as ears,
    ):
        sound.play(played)
        ears.listen_until(without_silence)
        for text, acts in against_the_rules.items():
            told = told_of(agent, evil, *acts)
            assert f"personal: device vchan: {text}; it is closed" in told
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 30)
    assert played in heard, difference(played, heard)
    assert agent.worker == worker


def test_guest_that_is_restored_offers_its_sound_anew_and_is_heard(
    dom0: Machine, pulse: Pulse, other: XenGuest
) -> None:
    """Linux ends a process that closes a channel of before; so the sound server is a new one."""
    played = noise(1, seed=10, rate_hz=RATE_HZ)
    save_and_restore(dom0, other)
    with sound_of(other, PIPEWIRE) as sound, pulse.hearing_at(RATE_HZ) as ears:
        sound.play(played)
        assert ears.hears(played), difference(played, ears.heard)
