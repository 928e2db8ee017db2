"""Reads policy directories into a Policy, or into one error line.

Files are ordered by name over all directories, octet by octet as in the C locale. Files of the same
name are ordered as their directories are. One bad file makes the whole policy bad, since it might
hold a deny.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from policy.language import files, rules
from policy.model import Policy, Rule
from policy.paths import GRANTS_FILE
from policy.text import nodes
from xensnd.errors import PolicyError

_NOTHING: Mapping[Path, bytes] = {}


def load(
    directories: Sequence[Path],
    instead: Mapping[Path, bytes] = _NOTHING,
    *,
    runtime: Path | None = None,
) -> Policy:
    """The policy of these directories. `instead` gives octets to use in place of files on disk.

    `runtime` is the directory of temporary grants, which may be missing. Raises only PolicyError,
    for the first problem.
    """
    loaded: list[tuple[Path, tuple[Rule, ...]]] = []
    for result in _load_files(directories, instead, runtime):
        if isinstance(result, PolicyError):
            raise result
        loaded.append(result)
    return Policy(
        rules=tuple(rule for _, of_file in loaded for rule in of_file),
        files=tuple(file for file, _ in loaded),
    )


def problems(directories: Sequence[Path], *, runtime: Path | None = None) -> tuple[str, ...]:
    """Return one line for each bad directory and each bad file: its first problem."""
    results = _load_files(directories, _NOTHING, runtime)
    return tuple(str(result) for result in results if isinstance(result, PolicyError))


def parse(octets: bytes, file: Path, *, are_grants: bool = False) -> tuple[Rule, ...]:
    """The rules in a file's octets. Raises only PolicyError."""
    return rules.read_rules(nodes.parse(files.decode(octets, file), file), file, are_grants)


def _load_files(
    directories: Sequence[Path], instead: Mapping[Path, bytes], runtime: Path | None
) -> Iterator[tuple[Path, tuple[Rule, ...]] | PolicyError]:
    """The problems of directories, then each file in order with its rules, or its problem."""
    paths: dict[Path, int] = {}
    named = (*directories, *(() if runtime is None else (runtime,)))
    for order, directory in enumerate(dict.fromkeys(named)):
        try:
            may_be_missing = directory == runtime and directory not in directories
            paths |= dict.fromkeys(_paths_in(directory, instead, may_be_missing), order)
        except PolicyError as problem:
            yield problem
    grants = None if runtime is None else runtime / GRANTS_FILE
    for path in sorted(paths, key=lambda path: (os.fsencode(path.name), paths[path])):
        try:
            octets = instead[path] if path in instead else files.read(path)
            yield path, parse(octets, path, are_grants=path == grants)
        except PolicyError as problem:
            yield problem


def _paths_in(
    directory: Path, instead: Mapping[Path, bytes], may_be_missing: bool
) -> Iterable[Path]:
    names = [] if may_be_missing and not files.exists(directory) else files.names_in(directory)
    found = (directory / name for name in names)
    return [*found, *(path for path in instead if path.parent == directory)]
