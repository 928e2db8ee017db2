"""Where the programs look for policy, by their options."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from agent_dom0 import cli
from policy import paths
from policy.paths import DEFAULT_DIRECTORY, DEFAULT_RUNTIME, QUBES_IDENTITIES, PolicyPaths

OTHER = Path("/srv/policy.d")
GRANTS = Path("/srv/grants")


def test_without_options_policy_and_grants_are_those_of_the_machine() -> None:
    found = PolicyPaths.of_options([], None)
    assert found.all_directories == (DEFAULT_DIRECTORY, DEFAULT_RUNTIME)


def test_another_policy_does_not_use_the_grants_of_the_machine() -> None:
    assert PolicyPaths.of_options([OTHER], None).all_directories == (OTHER,)


@pytest.mark.parametrize("directories", [[], [OTHER]])
def test_runtime_directory_that_is_named_is_used(directories: list[Path]) -> None:
    assert PolicyPaths.of_options(directories, GRANTS).runtime == GRANTS


def test_what_qubes_are_is_known_on_qubes_and_to_the_policy_of_the_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "QUBES", tmp_path)
    assert PolicyPaths.of_options([], None).platform == QUBES_IDENTITIES
    assert PolicyPaths.of_options([], None, "none").platform is None
    assert PolicyPaths.of_options([OTHER], None).platform is None
    assert PolicyPaths.of_options([OTHER], None, "/q.yaml").platform == Path("/q.yaml")
    monkeypatch.setattr(paths, "QUBES", tmp_path / "none")
    assert PolicyPaths.of_options([], None).platform is None


def test_tags_file_is_beside_the_first_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert PolicyPaths([OTHER, tmp_path]).tags_file == Path("/srv/tags.yaml")
    assert PolicyPaths([Path()]).tags_file == tmp_path.parent / "tags.yaml"


@pytest.mark.parametrize(
    ("transport", "runtime", "used"),
    [
        ("xen:", None, DEFAULT_RUNTIME),
        ("local:/tmp/machine", None, None),
        ("local:/tmp/machine", GRANTS, GRANTS),
    ],
)
def test_agent_of_another_machine_does_not_use_the_grants_of_this_one(
    transport: str, runtime: Path | None, used: Path | None
) -> None:
    options = argparse.Namespace(policy=[], runtime=runtime, transport=transport, identities=None)
    assert cli._policy_paths(options) == PolicyPaths([DEFAULT_DIRECTORY], used)
