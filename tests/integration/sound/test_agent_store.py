"""XenStore goes away and comes back: what sounds goes on, what is new waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0, Ended, Guest, play_and_record
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, noise
from xensnd.transport.local import LocalTransport
from xensnd.transport.xenstore import XenStore

PLAYED = Ended(0)
SECOND = 48000 * 4


@pytest.fixture
def own_machine(tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path / "xen") as machine:
        yield machine


def test_sound_goes_on_to_its_end_without_hypervisor_and_store(
    tmp_path: Path, own_machine: LocalMachine, pulse: PulseServer
) -> None:
    played = noise(1.5)
    work = Guest(own_machine, "work")
    with (
        Dom0(tmp_path / "dom0", own_machine.url, pulse.address, options=[PATIENT]) as dom0,
        pulse.listening() as ears,
        work.start("play", "-", stdin=[played]) as playing,
    ):
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
        own_machine.kill()
        assert playing.ended() == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
        lost = dom0.await_event("store_lost")
        assert dom0.process is not None
        assert dom0.process.poll() is None
    said = "sound goes on, new devices wait until it is back"
    assert lost["MESSAGE"].startswith("XenStore: XenStore at ")
    assert lost["MESSAGE"].endswith(f"; {said}")
    assert dom0.log.count(said) == 1
    assert "Traceback" not in dom0.log


class GuestStore(XenStore):
    """A guest's: at a real xenstored's socket everybody is domain 0, with its relative paths."""

    home = ""

    def read_each(self, paths: Sequence[str]) -> list[str | None]:
        return super().read_each([self._absolute(path) for path in paths])

    def write_each(self, nodes: Mapping[str, str]) -> None:
        super().write_each({self._absolute(path): value for path, value in nodes.items()})

    def _on_path(self, op: int, path: str, rest: bytes = b"") -> bytes:
        return super()._on_path(op, self._absolute(path), rest)

    def _absolute(self, path: str) -> str:
        return path if path.startswith(("/", "@")) else f"{self.home}/{path}"


class GuestTransport(LocalTransport):
    def open_store(self) -> XenStore:
        store = GuestStore.over_socket(self._store_path)
        assert isinstance(store, GuestStore)
        store.home = f"/local/domain/{self.domid}"
        return store


@contextmanager
def playing_in_thread(machine: LocalMachine, guest: Guest, sound: bytes) -> Iterator[None]:
    """`xensnd-guest play`, here and now; with the block it has come to its end."""
    with (
        ThreadPoolExecutor() as executor,
        closing(GuestTransport(machine.directory, guest.name)) as transport,
    ):
        playing = executor.submit(play_and_record, transport, sound)
        yield
        playing.result()


@pytest.fixture
def real_machine(tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path / "xen", "xenstored") as machine:
        yield machine


def test_sound_goes_on_without_xenstored_and_new_guests_play_when_it_is_back(
    tmp_path: Path, real_machine: LocalMachine, pulse: PulseServer
) -> None:
    assert real_machine.xenstored is not None
    first, second = noise(1.5, seed=1), noise(0.5, seed=2)
    url = real_machine.url
    with (
        Dom0(tmp_path / "dom0", url, pulse.address, options=[PATIENT]) as dom0,
        pulse.listening() as ears,
    ):
        with playing_in_thread(real_machine, Guest(real_machine, "work"), first):
            ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 2)
            real_machine.kill_store()
        assert ears.hears(first), difference(first, ears.heard)
        dom0.await_event("store_lost")

        real_machine.xenstored.start()
        dom0.await_event("store_found")
        late = Guest(real_machine, "late")
        dom0.await_event("device_made", guest="late")
        with playing_in_thread(real_machine, late, second):
            pass
        assert ears.hears(second), difference(second, ears.heard)
    assert "Traceback" not in dom0.log


def test_xenstored_that_hangs_leaves_the_sound(
    tmp_path: Path, real_machine: LocalMachine, pulse: PulseServer
) -> None:
    played = noise(1.5)
    url = real_machine.url
    with (
        Dom0(tmp_path / "dom0", url, pulse.address, options=[PATIENT]) as dom0,
        pulse.listening() as ears,
        playing_in_thread(real_machine, Guest(real_machine, "work"), played),
    ):
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 4)
        real_machine.freeze_store()
        assert ears.hears(played), difference(played, ears.heard)
        real_machine.thaw_store()
    assert "Traceback" not in dom0.log


def test_agent_started_without_xenstored_serves_when_that_comes(
    tmp_path: Path, real_machine: LocalMachine, pulse: PulseServer
) -> None:
    assert real_machine.xenstored is not None
    real_machine.kill_store()
    with Dom0(tmp_path / "dom0", real_machine.url, pulse.address) as dom0:
        lost = dom0.await_event("store_lost")
        assert lost["MESSAGE"].endswith("; sound goes on, new devices wait until it is back")
        real_machine.xenstored.start()
        dom0.await_event("store_found")
        Guest(real_machine, "work")
        dom0.await_event("device_made", guest="work")
    assert "Traceback" not in dom0.log
