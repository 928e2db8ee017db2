"""Guests whose vchans are served because a program has registered them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agent_dom0.guest import RunningGuest
from agent_dom0.vchan.factory import VchanFactory
from agent_dom0.vchan.front import VchanFront
from agent_dom0.vchan.registrations import REGISTERED_MAX, RETURN_SECONDS, Registrations
from tests.unit.fake_clock import later, run
from xensnd.errors import LimitReached, UsageError

WORK = RunningGuest(7, "work")


class Program:
    """One that registers guests."""


def registrations(directory: Path, on_change: Callable[[], None] = lambda: None) -> Registrations:
    return Registrations(directory / "registered.json", on_change)


def test_guest_is_registered_until_its_program_leaves(tmp_path: Path) -> None:
    registered, program = registrations(tmp_path), Program()
    registered.add(7, "work", program)
    assert registered.includes(WORK)
    assert registered.is_held_by(program)
    assert not registered.remove(Program())
    assert registered.remove(program)
    assert not registered.includes(WORK)


def test_number_that_is_another_guests_now_is_not_registered(tmp_path: Path) -> None:
    registered = registrations(tmp_path)
    registered.add(7, "work", Program())
    assert not registered.includes(RunningGuest(7, "personal"))
    assert not registered.includes(RunningGuest(8, "work"))
    assert registered.includes(RunningGuest(7, "work", target=3))  # its stubdomain


def test_later_program_holds_the_guest(tmp_path: Path) -> None:
    registered, first, second = registrations(tmp_path), Program(), Program()
    registered.add(7, "work", first)
    registered.add(7, "work", second)
    assert not registered.remove(first)
    assert registered.includes(WORK)


def test_program_registers_one_guest_at_a_time(tmp_path: Path) -> None:
    registered, program = registrations(tmp_path), Program()
    registered.add(7, "work", program)
    registered.add(8, "personal", program)
    assert registered.domids() == {8}


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "x" * 64, "naïve", "x\n"])
def test_name_that_is_no_domains_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no domain's"):
        registrations(tmp_path).add(7, name, Program())


def test_there_is_a_most(tmp_path: Path) -> None:
    registered = registrations(tmp_path)
    for domid in range(1, REGISTERED_MAX + 1):
        registered.add(domid, "work", Program())
    with pytest.raises(LimitReached):
        registered.add(REGISTERED_MAX + 1, "work", Program())
    registered.add(7, "again", Program())


def test_next_agent_goes_on_until_the_programs_come_again(tmp_path: Path) -> None:
    before = registrations(tmp_path)
    before.add(7, "work", Program())
    before.add(8, "personal", Program())
    before.close()

    async def work() -> None:
        changes: list[int] = []
        after = registrations(tmp_path, lambda: changes.append(1))
        after.begin()
        assert after.includes(WORK)
        assert after.domids() == {7, 8}
        after.add(7, "work", Program())
        await later(RETURN_SECONDS)
        assert after.domids() == {7}
        assert changes == [1]

    run(work())


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"x": "work"}', '{"0": "work"}', '{"7": "../x"}', '{"40000": "work"}']
)
def test_file_that_no_agent_has_written_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "registered.json").write_text(text)

    async def work() -> None:
        registered = registrations(tmp_path)
        registered.begin()
        assert registered.domids() == set()
        registered.close()

    run(work())


# In an audio domain, where guests cannot be listed


class AudioDomainStore:
    """Where names of other domains may be read or not."""

    def __init__(self, name: str | None) -> None:
        self._name = name

    def read(self, path: str) -> str:
        assert path == "/local/domain/7/name"
        if self._name is None:
            raise PermissionError(path)
        return self._name


def front_of(tmp_path: Path, store: AudioDomainStore) -> tuple[VchanFront, Registrations]:
    registered, nothing = registrations(tmp_path), cast(Any, None)
    front = VchanFront(nothing, cast(VchanFactory, nothing), registered, serves_all=True)
    front.use_store(cast(Any, store))
    return front, registered


def test_guest_is_known_by_its_registration_where_no_guest_is_seen(tmp_path: Path) -> None:
    front, registered = front_of(tmp_path, AudioDomainStore(None))
    assert front.known_guests() == set()
    registered.add(7, "work", Program())
    assert front.known_guests() == {7}
    assert front.identify(7) == WORK


def test_name_of_the_toolstack_comes_first(tmp_path: Path) -> None:
    front, registered = front_of(tmp_path, AudioDomainStore("personal"))
    registered.add(7, "work", Program())
    guest = front.identify(7)
    assert guest == RunningGuest(7, "personal")
    assert not registered.includes(guest)


def test_guests_whose_registration_has_changed_are_read_again_and_no_others(
    tmp_path: Path,
) -> None:
    front, registered = front_of(tmp_path, AudioDomainStore(None))
    work, personal = Program(), Program()
    registered.add(7, "work", work)
    registered.add(8, "personal", personal)
    assert front.behind == {7, 8}
    front.follow()
    assert front.behind == set()
    registered.add(9, "work", work)
    assert front.behind == {7, 9}
    front.follow()
    registered.remove(personal)
    assert front.behind == {8}
