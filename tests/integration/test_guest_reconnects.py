"""A card that is lost in the middle of a file: the guest goes on where it was heard."""

from __future__ import annotations

from pathlib import Path

from tests.agents import Dom0, Guest
from tests.local_machine import LocalMachine
from tests.pulse_server import PulseServer, noise
from xensnd.transport import toolstack

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


def replace_card(machine: LocalMachine, guest: Guest) -> None:
    """As a toolstack that restores a guest: the device closes, and is there again, new."""
    store = machine.open_store()
    toolstack.close_device(store, guest.domid)
    backend = f"/local/domain/0/backend/vsnd/{guest.domid}/0"
    store.write(f"{backend}/online", "1")
    store.write(f"{backend}/state", "1")


def test_playing_goes_on_with_the_next_card(
    work: Guest, dom0: Dom0, machine: LocalMachine, pulse: PulseServer
) -> None:
    played = noise(4)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 4 * 48000)
        replace_card(machine, work)
        dom0.await_event("stream_opened", guest="work", domid=work.domid, count=2)
        ended = playing.ended()
        assert ended.status == 0
        assert "going on as soon as it is back" in ended.errors
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5).replace(b"\0", b"")
    piece = 4 * 480
    assert all(played[at : at + piece] in heard for at in range(0, len(played), piece))


def test_recording_goes_on_with_the_next_card(
    work: Guest, dom0: Dom0, machine: LocalMachine, tmp_path: Path
) -> None:
    file = tmp_path / "recorded.wav"
    with work.start("record", str(file), "--seconds=2") as recording:
        dom0.await_event("stream_opened", guest="work", domid=work.domid)
        replace_card(machine, work)
        dom0.await_event("stream_opened", guest="work", domid=work.domid, count=2)
        assert recording.ended().status == 0
    assert file.stat().st_size == 44 + 2 * 48000 * 4
