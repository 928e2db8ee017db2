"""A guest that plays over vchan what bench/guest.py plays over sndif: `python -m bench.vchan_player
URL LATENCY_MS LOG NAME`. 44.1 kHz; it keeps as much in its ring, and writes as often.

LOG gets when the agent had taken so many frames out of the ring. What is in the ring is as late as
the guest wants it. Over sndif the agent has taken all that bench/guest.py has written.
"""

from __future__ import annotations

import sys
import time
from array import array
from pathlib import Path
from typing import BinaryIO

from bench.guest import PIECE_MS
from bench.measure import FRAME_OCTETS, NUMBERS, RECORD
from tests.support.raw_frontend import eventually
from tests.support.vchan_server import VchanServer
from xensnd.transport.local import LocalTransport
from xensnd.vchan.nodes import CAPTURE_PORT, PLAYBACK_PORT

RATE_HZ = 44100
WAIT_SECONDS = 10
LOOK_SECONDS = 0.0003
SAMPLES = array("I", [*range(1, NUMBERS + 1), *range(1, RATE_HZ)]).tobytes()


def octets_of(milliseconds: float) -> int:
    return int(milliseconds * RATE_HZ / 1000) * FRAME_OCTETS


def play(server: VchanServer, latency_ms: float, log: BinaryIO) -> None:
    target, least = octets_of(latency_ms - PIECE_MS), octets_of(PIECE_MS)
    frames = taken = 0
    while True:
        now_ns, queued = time.monotonic_ns(), server.right_octets - server.space()
        if frames - queued // FRAME_OCTETS > taken:
            taken = frames - queued // FRAME_OCTETS
            log.write(RECORD.pack(now_ns, taken))
        if (room := target - queued) >= least:
            start = frames % NUMBERS * FRAME_OCTETS
            frames += server.write(SAMPLES[start : start + room]) // FRAME_OCTETS
        time.sleep(LOOK_SECONDS)


def main(url: str, latency_ms: str, log: str, name: str) -> None:
    transport = LocalTransport(url.removeprefix("local:"), name)
    store = transport.open_store()
    servers = (
        VchanServer(transport, store, PLAYBACK_PORT, 11, 13),
        VchanServer(transport, store, CAPTURE_PORT, 13, 11),
    )
    for server in servers:
        server.offer()
    assert eventually(lambda: all(server.has_client for server in servers), WAIT_SECONDS)
    for server in servers:
        server.withdraw()
    with Path(log).open("wb", buffering=0) as file:
        play(servers[0], float(latency_ms), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
