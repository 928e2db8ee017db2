"""What is there for Qubes: with a stand-in for its library, since Qubes cannot run here."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from policy.engine import decide
from policy.language import identities
from policy.language.loader import parse
from policy.model import Direction, Policy, Verb

QUBES = Path(__file__).parents[2] / "qubes"


def qube(name: str, label: str, *own_tags: str, klass: str = "AppVM") -> SimpleNamespace:
    return SimpleNamespace(
        name=name, label=SimpleNamespace(name=label), tags=set(own_tags), klass=klass
    )


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What qubes-tags writes of these qubes."""
    domains = [
        qube("work", "blue", "xensnd-ask", "created-by-dom0"),
        qube("dom0", "black", klass="AdminVM"),
        qube("1e3", "red"),  # which YAML might take for a number
    ]
    library = ModuleType("qubesadmin")
    library.vm = SimpleNamespace(QubesVM=SimpleNamespace)  # type: ignore[attr-defined]
    library.Qubes = lambda: SimpleNamespace(domains=domains)  # type: ignore[attr-defined]
    file = tmp_path / "tags.yaml"
    monkeypatch.setitem(sys.modules, "qubesadmin", library)
    monkeypatch.setattr(sys, "argv", ["qubes-tags", str(file)])
    runpy.run_path(str(QUBES / "qubes-tags"), run_name="__main__")
    return file


def test_labels_and_tags_of_qubes_are_known_to_policy(written: Path) -> None:
    known = identities.parse(written.read_bytes(), written)
    assert written.stat().st_mode & 0o777 == 0o644
    assert [entry.guest for entry in known.entries] == ["1e3", "work"]
    assert known.guest("1e3").label == "red"
    assert known.guest("work").tags == frozenset({"xensnd-ask", "created-by-dom0"})


@pytest.mark.parametrize(
    ("guest", "direction", "verb"),
    [
        ("work", Direction.CAPTURE, Verb.ASK),
        ("work", Direction.PLAYBACK, Verb.ALLOW),
        ("1e3", Direction.CAPTURE, Verb.DENY),
        ("1e3", Direction.PLAYBACK, Verb.ALLOW),
        ("sys-net", Direction.PLAYBACK, Verb.DENY),
        ("sys-net", Direction.CAPTURE, Verb.DENY),
    ],
)
def test_rules_to_begin_with_decide(
    written: Path, guest: str, direction: Direction, verb: Verb
) -> None:
    files = (QUBES / "80-qubes.yaml", QUBES.parent / "policy/defaults/90-default.yaml")
    policy = Policy(tuple(rule for file in files for rule in parse(file.read_bytes(), file)), files)
    known = identities.parse(written.read_bytes(), written)
    assert decide(policy, known.guest(guest), direction).verb is verb
