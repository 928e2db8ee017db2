"""From policy directories to a Policy, or to one line that says what to mend.

Files are read in the C locale's order of their names over all directories; files of one name, in
the order of their directories. One bad file makes the whole policy bad: it might have denied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from policy.language import files, rules
from policy.model import Policy, Rule
from policy.text import nodes
from xensnd.errors import PolicyError

__all__ = ["GRANTS_FILE", "load", "parse", "problems"]

GRANTS_FILE = "00-grants.yaml"  # in the runtime directory; asked before all but 00-a to 00-f

_NOTHING: Mapping[Path, bytes] = {}


def load(
    directories: Sequence[Path],
    instead: Mapping[Path, bytes] = _NOTHING,
    *,
    runtime: Path | None = None,
) -> Policy:
    """The policy of these directories, `instead` standing in for files that it names.

    `runtime` is one more directory, which need not be there: that of temporary grants.
    Raises PolicyError, and nothing else, with the first problem.
    """
    loaded: list[tuple[Path, tuple[Rule, ...]]] = []
    for outcome in _outcomes(directories, instead, runtime):
        if isinstance(outcome, PolicyError):
            raise outcome
        loaded.append(outcome)
    return Policy(
        rules=tuple(rule for _, its_rules in loaded for rule in its_rules),
        files=tuple(file for file, _ in loaded),
    )


def problems(directories: Sequence[Path], *, runtime: Path | None = None) -> tuple[str, ...]:
    """What is wrong: one line for each bad directory and file, its first problem."""
    outcomes = _outcomes(directories, _NOTHING, runtime)
    return tuple(str(outcome) for outcome in outcomes if isinstance(outcome, PolicyError))


def parse(octets: bytes, file: Path, *, are_grants: bool = False) -> tuple[Rule, ...]:
    """The rules in a file's octets. Raises PolicyError, and nothing else."""
    return rules.rules_of(nodes.parse(files.decoded(octets, file), file), file, are_grants)


def _outcomes(
    directories: Sequence[Path], instead: Mapping[Path, bytes], runtime: Path | None
) -> Iterator[tuple[Path, tuple[Rule, ...]] | PolicyError]:
    """Each file with its rules or its problem, in order; bad directories before all."""
    paths: dict[Path, int] = {}
    named = (*directories, *(() if runtime is None else (runtime,)))
    for order, directory in enumerate(dict.fromkeys(named)):
        try:
            may_be_missing = directory == runtime and directory not in directories
            paths |= dict.fromkeys(_within(directory, instead, may_be_missing), order)
        except PolicyError as problem:
            yield problem
    grants = None if runtime is None else runtime / GRANTS_FILE
    for path in sorted(paths, key=lambda path: (os.fsencode(path.name), paths[path])):
        try:
            octets = instead[path] if path in instead else files.read(path)
            yield path, parse(octets, path, are_grants=path == grants)
        except PolicyError as problem:
            yield problem


def _within(directory: Path, instead: Mapping[Path, bytes], may_be_missing: bool) -> Iterable[Path]:
    names = [] if may_be_missing and not files.is_there(directory) else files.names_in(directory)
    found = (directory / name for name in names)
    return [*found, *(path for path in instead if path.parent == directory)]
