"""The packages' changelogs are made from the one for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.changelogs import parse, to_debian, to_rpm
from xensnd.version import VERSION

CHANGELOG = """# Changelog

## 0.2.0, unreleased

- One thing is new,
  and 50% of another.
- `xensnd-policy` says more than would ever fit into a single line of such a file, so it is cut.

## 0.1.0, 2026-11-20

- All of it.
"""
TODAY = datetime(2026, 12, 24, 18, 0, 0, tzinfo=UTC)
WHO = "A Maintainer <maintainer@xensnd.example>"


def test_debian_changelog() -> None:
    assert (
        to_debian(parse(CHANGELOG, "0.2.0"), WHO, TODAY)
        == """\
xensnd (0.2.0-1) UNRELEASED; urgency=medium

  * One thing is new, and 50% of another.
  * `xensnd-policy` says more than would ever fit into a single line of such a
    file, so it is cut.

 -- A Maintainer <maintainer@xensnd.example>  Thu, 24 Dec 2026 18:00:00 +0000

xensnd (0.1.0-1) unstable; urgency=medium

  * All of it.

 -- A Maintainer <maintainer@xensnd.example>  Fri, 20 Nov 2026 00:00:00 +0000
"""
    )


def test_rpm_changelog() -> None:
    assert (
        to_rpm(parse(CHANGELOG, "0.2.0"), WHO, TODAY)
        == """\
* Thu Dec 24 2026 A Maintainer <maintainer@xensnd.example> - 0.2.0-1
- One thing is new, and 50%% of another.
- `xensnd-policy` says more than would ever fit into a single line of such a
  file, so it is cut.

* Fri Nov 20 2026 A Maintainer <maintainer@xensnd.example> - 0.1.0-1
- All of it.
"""
    )


@pytest.mark.parametrize(
    ("changelog", "message"),
    [
        (CHANGELOG, "the newest version is 0.2.0, and xensnd/version.py says 0.1.0"),
        ("# Changelog\n", "the newest version is nothing, and xensnd/version.py says 0.1.0"),
        ("## 0.1.0\n\n- A.\n", "'## 0.1.0' is not '## VERSION, unreleased' or '## VERSION, DATE'"),
        ("## 0.1.0, unreleased\n", "0.1.0: nothing has changed; add a line that starts '- '"),
    ],
)  # fmt: skip
def test_changelog_that_cannot_be_used_is_refused(changelog: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse(changelog, "0.1.0")


def test_the_changelog_of_this_version_can_be_used() -> None:
    changelog = Path(__file__).parents[2] / "docs/CHANGELOG.md"
    assert parse(changelog.read_text())[0].version == VERSION
