"""One name, one class: who reads a name knows which class it is, wherever it stands."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("xensnd", "agent_dom0", "agent_guest", "agent_session", "policy")


def public_classes(package: str) -> Iterator[tuple[str, str]]:
    """The name of each class, and the module that defines it."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                yield statement.name, str(path.relative_to(ROOT))


def test_no_two_modules_define_public_classes_of_one_name() -> None:
    modules = defaultdict(list)
    for package in PACKAGES:
        for name, module in public_classes(package):
            modules[name].append(module)
    assert len(modules) > 100  # they were found
    assert {name: where for name, where in modules.items() if len(where) > 1} == {}
