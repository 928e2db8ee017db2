"""The agent dies while guests play and record, and the next one goes on where it stood."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from agent_dom0.supervisor.supervise import PREDECESSOR, RENEW
from tests.support.agents import QUEUED_MSEC, SECOND_OCTETS, Dom0, Guest
from tests.support.heard import FRAME_OCTETS, gaps, gaps_of_whole, seconds_heard
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import ANSWER_SECONDS, BUFFER_OCTETS, RawStream, eventually
from tests.support.shared_pages import RSP_PROD_OFFSET
from xensnd.sndif.packets import Status, Trigger, TriggerRequest, Write, encode_request

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


def kill_worker(dom0: Dom0) -> None:
    """And waits until the next one has taken over."""
    killed = dom0.agent_pid
    with dom0.one_more("stream_taken_over"):
        os.kill(killed, signal.SIGKILL)
    assert dom0.agent_pid != killed


def test_a_killed_agent_loses_no_frame_of_a_guest_that_plays(
    work: Guest, dom0: Dom0, pulse: PulseServer
) -> None:
    played, kills = noise(3.5), []
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        for seconds in (1, 2.5):
            kills.append(len(ears.listen_until(seconds_heard(seconds))) // FRAME_OCTETS)
            kill_worker(dom0)
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    outages = gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)
    assert all(kill <= gap.at for kill, gap in zip(kills, outages, strict=True))


def test_a_killed_agent_leaves_a_recording_guest_its_microphone(
    work: Guest, dom0: Dom0, pulse: PulseServer
) -> None:
    spoken, seconds = noise(6), 2.5
    with (
        pulse.microphone(spoken),
        work.start("record", "-", f"--seconds={seconds}") as recording,
    ):
        before = recording.listen_until(seconds_heard(1))
        kill_worker(dom0)
        assert recording.ended().status == 0
    assert len(recording.heard) == seconds * SECOND_OCTETS
    assert recording.heard[-1:] != b"\0"
    (outage,) = gaps(recording.heard, spoken)
    assert len(before) // FRAME_OCTETS <= outage.at
    # Time does not go faster than the microphone: silence stands for what was lost, never more.
    assert 0 <= outage.silent <= outage.missing


def test_an_agent_that_is_stopped_and_started_again_takes_over_too(
    work: Guest, dom0: Dom0, pulse: PulseServer
) -> None:
    """As an upgrade does it; the guest's buffer is 200 ms, so it waits for a while."""
    played = noise(3)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(seconds_heard(1))
        assert dom0.stop() == 0
        dom0.start()
        dom0.await_event("stream_taken_over", guest="work", domid=work.domid)
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) <= 1


def test_an_agent_that_is_renewed_while_a_guest_plays_loses_no_frame(
    work: Guest, dom0: Dom0, pulse: PulseServer
) -> None:
    """As an upgrade does it: the same process, with whatever is installed by then."""
    assert dom0.process is not None
    old = dom0.agent_pid
    played = noise(3)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(seconds_heard(1))
        dom0.process.send_signal(RENEW)
        dom0.await_event("stream_taken_over", guest="work", domid=work.domid)
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    assert len(gaps_of_whole(heard, played, queued_msec=QUEUED_MSEC)) <= 1
    environment = Path(f"/proc/{dom0.process.pid}/environ").read_bytes().split(b"\0")
    assert any(each.startswith(f"{PREDECESSOR}={old} ".encode()) for each in environment)


def test_a_predecessor_that_hangs_is_taken_over_by_a_renewed_agent(
    work: Guest, dom0: Dom0, pulse: PulseServer
) -> None:
    assert dom0.process is not None
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(8)]):
        ears.listen_until(seconds_heard(1))
        old = dom0.agent_pid
        os.kill(old, signal.SIGSTOP)
        dom0.process.send_signal(RENEW)
        dom0.await_event("stream_taken_over", guest="work", domid=work.domid)
        assert dom0.agent_pid != old


def test_record_of_a_guest_that_went_while_no_agent_was_there_goes_too(
    dom0: Dom0, machine: LocalMachine
) -> None:
    guest = Guest(machine, "gone")
    with guest.start("play", "-", stdin=[noise(8)]):
        dom0.await_event("stream_started", domid=guest.domid)
        assert dom0.stop() == 0
    guest.destroy()
    dom0.start()
    streams = machine.directory / "dom0" / "streams"
    eventually(lambda: list(streams.iterdir()) == [])
    assert list(streams.iterdir()) == []


def test_records_go_with_their_streams(work: Guest, dom0: Dom0, machine: LocalMachine) -> None:
    assert work.run("play", "-", stdin=noise(0.2)).status == 0
    dom0.await_event("device_disconnected", guest="work", domid=work.domid)
    streams = machine.directory / "dom0" / "streams"
    eventually(lambda: list(streams.iterdir()) == [])
    assert list(streams.iterdir()) == []


def kill_at_the_answer(stream: RawStream, trigger: Trigger, dom0: Dom0) -> None:
    """The agent dies as soon as the guest has its answer, and most likely before its Python has
    seen the request. Until the next one has taken over."""
    killed = dom0.agent_pid
    with dom0.one_more("stream_taken_over"):
        stream.put(encode_request(stream.sent & 0xFFFF, TriggerRequest(trigger)))
        stream.requests.notify()
        end = time.monotonic() + ANSWER_SECONDS
        while stream.ring[RSP_PROD_OFFSET // 4] != stream.sent:
            assert time.monotonic() < end, "no answer"
        os.kill(killed, signal.SIGKILL)
    assert stream.answers(1)[0].status == Status.OK


def open_and_fill(stream: RawStream) -> None:
    assert stream.ask(stream.good_open()) == Status.OK
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK


def await_position(stream: RawStream, octets: int) -> None:
    while stream.next_position() < octets:
        pass


def test_stream_that_starts_as_its_agent_dies_plays_with_the_next(
    stream: RawStream, dom0: Dom0
) -> None:
    open_and_fill(stream)
    kill_at_the_answer(stream, Trigger.START, dom0)
    dom0.await_event("stream_started")
    await_position(stream, BUFFER_OCTETS)


def test_stream_that_stops_as_its_agent_dies_stays_stopped_and_can_start_again(
    stream: RawStream, dom0: Dom0
) -> None:
    open_and_fill(stream)
    assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    dom0.await_event("stream_started")
    with dom0.one_more("stream_stopped"):
        kill_at_the_answer(stream, Trigger.STOP, dom0)
    assert stream.ask(Write(0, BUFFER_OCTETS)) == Status.OK
    with dom0.one_more("stream_started"):
        assert stream.ask(TriggerRequest(Trigger.START)) == Status.OK
    await_position(stream, stream.next_position() + BUFFER_OCTETS // 2)
