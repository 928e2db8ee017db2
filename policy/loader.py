"""From policy directories to a Policy, or to one line that says what to mend.

Files are read in the C locale's order of their names over all directories; files of one name, in
the order of their directories. One bad file makes the whole policy bad: it might have denied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from policy import files, nodes, rules
from policy.model import Policy, Rule
from xensnd.errors import PolicyError

__all__ = ["load", "parse", "problems"]

_NOTHING: Mapping[Path, bytes] = {}


def load(directories: Sequence[Path], instead: Mapping[Path, bytes] = _NOTHING) -> Policy:
    """The policy of these directories, `instead` standing in for files that it names.

    Raises PolicyError, and nothing else, with the first problem.
    """
    loaded: list[tuple[Path, tuple[Rule, ...]]] = []
    for outcome in _outcomes(directories, instead):
        if isinstance(outcome, PolicyError):
            raise outcome
        loaded.append(outcome)
    return Policy(
        rules=tuple(rule for _, its_rules in loaded for rule in its_rules),
        files=tuple(file for file, _ in loaded),
    )


def problems(directories: Sequence[Path]) -> tuple[str, ...]:
    """What is wrong: one line for each bad directory and file, its first problem."""
    outcomes = _outcomes(directories, _NOTHING)
    return tuple(str(outcome) for outcome in outcomes if isinstance(outcome, PolicyError))


def parse(octets: bytes, file: Path) -> tuple[Rule, ...]:
    """The rules in a file's octets. Raises PolicyError, and nothing else."""
    return rules.rules_of(nodes.parse(files.decoded(octets, file), file), file)


def _outcomes(
    directories: Sequence[Path], instead: Mapping[Path, bytes]
) -> Iterator[tuple[Path, tuple[Rule, ...]] | PolicyError]:
    """Each file with its rules or its problem, in order; bad directories before all."""
    paths: dict[Path, int] = {}
    for order, directory in enumerate(dict.fromkeys(directories)):
        try:
            paths |= dict.fromkeys(_within(directory, instead), order)
        except PolicyError as problem:
            yield problem
    for path in sorted(paths, key=lambda path: (os.fsencode(path.name), paths[path])):
        try:
            octets = instead[path] if path in instead else files.read(path)
            yield path, parse(octets, path)
        except PolicyError as problem:
            yield problem


def _within(directory: Path, instead: Mapping[Path, bytes]) -> Iterable[Path]:
    found = (directory / name for name in files.names_in(directory))
    return [*found, *(path for path in instead if path.parent == directory)]
