"""The Debian packages as files: what is in them, and that they are the same each time."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import Counter
from pathlib import Path

from tests.packages.builder import OTHERWISE, build_debian
from tests.packages.images import Images
from tests.packages.roots import USER, Root
from tools import changelogs
from xensnd.version import VERSION

# Of a version that is not released the changelog says so, to which lintian rightly objects.
UNRELEASED = () if changelogs.newest().date else ("--suppress-tags=unreleased-changes",)


def test_lintian_has_nothing_to_say(images: Images, built: Path, tmp_path: Path) -> None:
    root = Root([images.tools()], tmp_path / "root")
    root.put([path for path in built.iterdir() if path.is_file()], "/srv/built")
    said = root.shell(
        f"cd /srv/built; lintian --fail-on=error,warning {' '.join(UNRELEASED)} *.changes",
        user=USER,
    )
    assert said == ""


def test_packages_are_the_same_when_built_elsewhere(
    images: Images, debs: list[Path], tmp_path: Path
) -> None:
    again = build_debian(
        images, tmp_path, path="/home/builder/another/place", umask="077",
        DEB_BUILD_OPTIONS="nocheck", **OTHERWISE,
    )  # fmt: skip
    for deb in debs:
        assert digest(again / deb.name) == digest(deb), deb.name


def test_version_is_that_of_the_code(debs: list[Path]) -> None:
    for deb in debs:
        assert field(deb, "Version") == f"{VERSION}-{changelogs.REVISION}"


def test_no_file_is_in_two_packages(debs: list[Path]) -> None:
    names = Counter(name for deb in debs for _, _, name in contents(deb) if name[-1] != "/")
    assert [name for name, times in names.items() if times > 1] == []


def test_files_are_roots_and_nobody_else_writes_them(debs: list[Path]) -> None:
    for deb in debs:
        for mode, owner, name in contents(deb):
            assert owner == "root/root", name
            expected = {"d": ["rwxr-xr-x"], "l": ["rwxrwxrwx"], "-": ["rw-r--r--", "rwxr-xr-x"]}
            assert mode[1:] in expected[mode[0]], name


def test_programs_are_commands_and_what_qubes_runs(debs: list[Path]) -> None:
    programs = {
        name
        for deb in debs
        for mode, _, name in contents(deb)
        if mode.startswith("-rwx") and not name.startswith("./usr/share/python3/runtime.d/")
    }
    commands = ("dom0", "guest", "pacat", "policy", "session")
    assert programs == {
        *(f"./usr/bin/xensnd-{command}" for command in commands),
        "./etc/qubes/post-install.d/10-xensnd.sh",
        "./usr/share/xensnd/qubes-pacat",
        "./usr/lib/xensnd/xensnd-qubes",
    }


def test_dom0_holds_nothing_of_the_guest_or_of_the_stand_in(debs: list[Path]) -> None:
    common, dom0, _ = debs
    names = " ".join(name for deb in (common, dom0) for _, _, name in contents(deb))
    for absent in ("agent_guest", "localxen", "core/build", ".c "):
        assert absent not in names


def test_dom0_takes_less_than_a_mebibyte_and_a_half(debs: list[Path]) -> None:
    common, dom0, _ = debs
    assert sum(int(field(deb, "Installed-Size")) for deb in (common, dom0)) < 1536


def test_core_is_bound_to_no_version_of_python(debs: list[Path]) -> None:
    common = debs[0]
    depends = field(common, "Depends")
    assert "python3 (>= 3.11)" in depends
    assert not re.search(r"python3 \(<|python3\.\d", depends)
    assert [name for _, _, name in contents(common) if name.endswith(".so")] == [
        "./usr/lib/xensnd/xensnd/core/_core.abi3.so",
        "./usr/lib/xensnd/xensnd/transport/xen/_xen.abi3.so",
    ]


def field(deb: Path, name: str) -> str:
    return output("dpkg-deb", "-f", str(deb), name).strip()


def contents(deb: Path) -> list[tuple[str, str, str]]:
    """Mode, owner and name."""
    listed = []
    for line in output("dpkg-deb", "-c", str(deb)).splitlines():
        mode, owner, _, _, _, name = line.split(" -> ")[0].split(maxsplit=5)
        listed.append((mode, owner, name))
    return listed


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
