"""A guest's own audio server, applications that use it, and `xensnd-guest serve` beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.agents import Guest, Running
from tests.support.heard import RATE_HZ
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import Listener, PulseServer, feed

AnyServer = PulseServer | PipeWireServer


@contextmanager
def playing(server: AnyServer, sound: bytes, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An application of the server that plays, until the block ends."""
    command = ["pacat", "--raw", f"--rate={RATE_HZ}", "--latency-msec=20", *options]
    with subprocess.Popen(command, env=server.environment, stdin=subprocess.PIPE) as process:
        feeder = feed(process, [sound])
        try:
            yield process
        finally:
            process.kill()
            feeder.join()


@contextmanager
def serving(
    guest: Guest,
    server: AnyServer,
    *options: str,
    protocol: ServerProtocol = ServerProtocol.PULSEAUDIO,
) -> Iterator[Running]:
    address = server.address
    if protocol is ServerProtocol.PIPEWIRE:
        assert isinstance(server, PipeWireServer)
        address = server.address_for(protocol)
    with guest.start("serve", f"--server={address}", *options) as agent:
        ready = agent.listen_until(lambda said: b"ready" in said)
        assert b"ready" in ready, agent.errors
        yield agent
        agent.process.terminate()
        assert agent.ended().status == 0
        assert "Traceback" not in agent.errors


@contextmanager
def recording(server: AnyServer, device: str) -> Iterator[Listener]:
    """An application of the server that records."""
    command = ["parec", "--raw", f"--rate={RATE_HZ}", "--latency-msec=20", f"--device={device}"]
    ears = Listener(subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE))
    try:
        yield ears
    finally:
        ears.stop()
