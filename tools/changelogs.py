"""The changelogs of the packages, made from docs/CHANGELOG.md.

    python3 -m tools.changelogs debian > debian/changelog
    python3 -m tools.changelogs rpm

A version that is not released has the date of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xensnd.version import VERSION

ROOT = Path(__file__).parent.parent
REVISION = "1"  # of the packages, where a release is packaged again
WIDTH = 80

_HEADING = re.compile(r"## (?P<version>\S+), (?P<date>unreleased|\d{4}-\d\d-\d\d)")
_ENTRY = re.compile(r"^- (.*(?:\n  .*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    date: datetime | None  # None: unreleased
    entries: list[str]


def parse(changelog: str, version: str = VERSION) -> list[Release]:
    """The newest first, which is `version`. ValueError says what to mend."""
    releases = []
    for section in re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        match = _HEADING.fullmatch(heading)
        if not match:
            raise ValueError(f"{heading!r} is not '## VERSION, unreleased' or '## VERSION, DATE'")
        entries = [" ".join(entry.split()) for entry in _ENTRY.findall(body)]
        if not entries:
            raise ValueError(
                f"{match['version']}: nothing has changed; add a line that starts '- '"
            )
        date = None if match["date"] == "unreleased" else datetime.fromisoformat(match["date"])
        releases.append(Release(match["version"], date and date.replace(tzinfo=UTC), entries))
    newest = releases[0].version if releases else "nothing"
    if newest != version:
        raise ValueError(f"the newest version is {newest}, and xensnd/version.py says {version}")
    return releases


def to_debian(releases: Sequence[Release], maintainer: str, today: datetime) -> str:
    return "\n".join(
        "".join(
            [
                f"xensnd ({release.version}-{REVISION}) ",
                "unstable" if release.date else "UNRELEASED",
                "; urgency=medium\n\n",
                *(_wrapped(entry, "  * ") for entry in release.entries),
                f"\n -- {maintainer}  {release.date or today:%a, %d %b %Y %H:%M:%S %z}\n",
            ]
        )
        for release in releases
    )


def to_rpm(releases: Sequence[Release], maintainer: str, today: datetime) -> str:
    return "\n".join(
        "".join(
            [
                f"* {release.date or today:%a %b %d %Y} {maintainer} - ",
                f"{release.version}-{REVISION}\n",
                # A macro's sign is written twice.
                *(_wrapped(entry.replace("%", "%%"), "- ") for entry in release.entries),
            ]
        )
        for release in releases
    )


def _wrapped(entry: str, bullet: str) -> str:
    indent = " " * len(bullet)
    # A line is cut at spaces alone: names of commands hold dashes.
    return (
        textwrap.fill(
            entry, WIDTH, initial_indent=bullet, subsequent_indent=indent, break_on_hyphens=False
        )
        + "\n"
    )


def newest() -> Release:
    return parse((ROOT / "docs/CHANGELOG.md").read_text())[0]


def _maintainer() -> str:
    match = re.search(r"^Maintainer: (.+)$", (ROOT / "debian/control").read_text(), re.MULTILINE)
    assert match  # noqa: S101 - the field is mandatory
    return match[1]


def main() -> int:
    forms = {"debian": to_debian, "rpm": to_rpm}
    if len(sys.argv) != 2 or sys.argv[1] not in forms:
        print(f"usage: python3 -m tools.changelogs {'|'.join(forms)}", file=sys.stderr)
        return 2
    try:
        releases = parse((ROOT / "docs/CHANGELOG.md").read_text())
    except ValueError as error:
        print(f"docs/CHANGELOG.md: {error}", file=sys.stderr)
        return 1
    today = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    print(forms[sys.argv[1]](releases, _maintainer(), today), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
