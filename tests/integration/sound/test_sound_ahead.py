"""How often the agent wakes for a guest that has written far ahead."""

from __future__ import annotations

from pathlib import Path

from agent_guest.pcm import Pcm
from tests.support.agents import Dom0, Guest
from tests.support.guest_pcm import with_open_pcm
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import noise

OPTIONS = ("--latency=20",)

PERIOD_OCTETS = 2400 * 4  # 50 ms
PERIODS = 60
BEGINNING = 20  # of them: libpulse asks for the time often in a stream's first second


def wakeups_of_the_core(dom0: Dom0) -> int:
    threads = Path(f"/proc/{dom0.agent_pid}/task").iterdir()
    (core,) = (each for each in threads if (each / "comm").read_text() == "xensnd-core\n")
    (count,) = (
        line.split()[1]
        for line in (core / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )
    return int(count)


def test_agent_wakes_for_the_ends_of_periods_and_not_for_each_request_of_the_server(
    machine: LocalMachine, dom0: Dom0, work: Guest
) -> None:
    """PulseAudio asks every 5 ms, ten times in each period. What it has lasts for 12 ms, so four or
    five wakeups do."""
    played = noise(PERIODS * 0.05)
    pieces = memoryview(played)

    async def play(pcm: Pcm) -> int:
        written = pcm.write(pieces)
        await pcm.start()
        before = 0
        while written < len(played):
            if not before and written >= BEGINNING * PERIOD_OCTETS:
                before = wakeups_of_the_core(dom0)
            await pcm.await_room(PERIOD_OCTETS, 10)
            written += pcm.write(pieces[written:])
        wakeups = wakeups_of_the_core(dom0) - before
        await pcm.await_position(len(played), 10)
        return wakeups

    assert with_open_pcm(machine, work.name, play) <= 6 * (PERIODS - BEGINNING)
